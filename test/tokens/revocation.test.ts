/** What is taken back ends at once, also where it is in use. */
import { randomBytes } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createProof } from "../../client/proof.ts";
import { type KeyPair, keyPairOf } from "../../core/trust/ed25519.ts";
import { putShare } from "../../catalog/shares.ts";
import { addUser } from "../api/users.ts";
import type { Owner } from "../support/gateway.ts";
import {
  addDataset,
  noiseFiles,
  startStreamGateway,
  type StreamGateway,
  type TestDataset,
} from "../stream/fixture.ts";
import { readAll } from "../stream/wire.ts";
import { readToEnd, stall, STREAM_BATCHES } from "./stalled-reader.ts";

/** What the product promises. */
const ENDS_WITHIN_MS = 2_000;
/** More than a connection's buffers hold, so that a reader that stands still stops the gateway in the middle. */
const BATCHES = 96;
const ITEM_BYTES = 512 * 1024;

let gateway: StreamGateway;
let dataset: TestDataset;
let doomed: TestDataset;
let bob: Owner;
const endings = new Map<string, { at: number; code: unknown }>();
let onEnding = (): void => {};
beforeAll(async () => {
  gateway = await startStreamGateway({
    onLog({ message }) {
      // The first, where nobody asked for more; the second, where the reader still did.
      if (!/stream_access_ended|stream_end/.test(message)) return;
      const line = JSON.parse(message) as { stream_id: string; code?: string };
      if (!endings.has(line.stream_id))
        endings.set(line.stream_id, { at: performance.now(), code: line.code });
      onEnding();
    },
  });
  const files = noiseFiles(BATCHES, () => ITEM_BYTES);
  dataset = await addDataset(gateway, files, { chunkBytes: 4 * 1024 * 1024 });
  doomed = await addDataset(gateway, files, { chunkBytes: 4 * 1024 * 1024 });
  bob = await addUser(gateway, "bob");
});
afterAll(() => gateway.stop());

async function ended(streamId: string): Promise<{ at: number; code: unknown }> {
  for (;;) {
    const ending = endings.get(streamId);
    if (ending !== undefined) return ending;
    await new Promise<void>((resolve) => (onEnding = resolve));
  }
}

const send = async (method: string, path: string): Promise<void> =>
  expect((await gateway.request(path, { method })).status).toBe(204);

async function post(
  path: string,
  body: unknown,
  headers: Record<string, string> = {},
): Promise<{ id: string; token: string }> {
  const response = await gateway.request(path, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body: JSON.stringify(body),
  });
  expect(response.status).toBe(201);
  return (await response.json()) as { id: string; token: string };
}

async function proofHeader(key: KeyPair, path: string, credential: string): Promise<{ dpop: string }> {
  const url = new URL(path, gateway.url).href;
  return { dpop: await createProof(key, { method: "POST", url, credential }) };
}

async function shareWithBob(): Promise<{ shareId: string; token: string }> {
  const share = await putShare(gateway.database.sql, {
    datasetId: dataset.id,
    grantedBy: gateway.owner.userId,
    userId: bob.userId,
    permissions: ["stream"],
    expiresAt: null,
  });
  const authorization = `Bearer ${bob.apiKey}`;
  const { token } = await post(
    `/api/datasets/${dataset.id}/tokens`,
    { scopes: ["stream"] },
    { authorization },
  );
  return { shareId: share?.id ?? "", token };
}

describe("a stream whose reader stands still ends", () => {
  interface Case {
    readonly of?: TestDataset;
    readonly token: string;
    readonly headers?: Readonly<Record<string, string>>;
    readonly end: () => Promise<void>;
  }
  const cases: Record<string, () => Promise<Case>> = {
    async "when its token is revoked"() {
      const { id, token } = await dataset.token();
      return { token, end: () => send("DELETE", `/api/tokens/${id}`) };
    },
    async "when the share that its token hangs on is taken back"() {
      const { shareId, token } = await shareWithBob();
      return { token, end: () => send("DELETE", `/api/shares/${shareId}`) };
    },
    async "when the training node that its token is bound to is revoked"() {
      const key = keyPairOf(new Uint8Array(randomBytes(32)));
      const { id } = await post(
        "/api/training-nodes",
        { name: "node-1" },
        await proofHeader(key, "/api/training-nodes", gateway.owner.apiKey),
      );
      const { token } = await post(`/api/datasets/${dataset.id}/tokens`, {
        scopes: ["stream"],
        node: "node-1",
      });
      const headers = await proofHeader(key, STREAM_BATCHES, token);
      return { token, headers, end: () => send("DELETE", `/api/training-nodes/${id}`) };
    },
    async "when its token expires"() {
      const expiresAt = Math.floor(Date.now() / 1000) + 3;
      const { token } = await dataset.token({ expiresAt });
      return {
        token,
        end: () => new Promise((resolve) => setTimeout(resolve, expiresAt * 1000 - Date.now())),
      };
    },
    async "when its dataset is deleted"() {
      const { token } = await doomed.token();
      return { of: doomed, token, end: () => send("DELETE", `/api/datasets/${doomed.id}`) };
    },
  };

  test.each(Object.keys(cases))("within two seconds %s", async (name) => {
    const { of = dataset, token, headers, end } = await (cases[name] as (typeof cases)[string])();
    const streamId = name.replaceAll(" ", "-");
    const init = { datasetId: of.id, accessToken: token, batchSize: 1, streamId, maxTrustLevel: 4 };
    const socket = await stall(gateway.url, init, headers);
    await end();
    const acknowledgedAt = performance.now();
    const { at, code } = await ended(streamId);
    console.info(`${name}: ended after ${Math.round(at - acknowledgedAt)} ms`);
    expect(at - acknowledgedAt).toBeLessThan(ENDS_WITHIN_MS);
    expect(code).toBe("unauthenticated");
    // What was on its way still comes; then the reason, and nothing more.
    const read = await readToEnd(socket);
    expect(read.code).toBe("unauthenticated");
    expect(read.batches).toBeLessThan(BATCHES);
  });

  test("while one that nobody touched goes on to its end", async () => {
    const { token } = await dataset.token();
    const socket = await stall(gateway.url, {
      datasetId: dataset.id,
      accessToken: token,
      batchSize: 1,
      streamId: "untouched",
    });
    // Longer than it takes to notice: three questions went by.
    await new Promise((resolve) => setTimeout(resolve, 3_000));
    expect(await readToEnd(socket)).toEqual({ batches: BATCHES, code: undefined });
  });
});

test("after a revocation is acknowledged, none of a thousand requests passes", async () => {
  const { id, token } = await dataset.token();
  const headers = { authorization: `Bearer ${token}` };
  const requests: (() => Promise<boolean>)[] = [
    async () => (await gateway.request(`/api/datasets/${dataset.id}`, { headers })).ok,
    async () => (await gateway.request(`/api/datasets/${dataset.id}/manifest`, { headers })).ok,
    async () => (await gateway.request(`/api/datasets/${dataset.id}/files?limit=1`, { headers })).ok,
    async () => {
      const response = await gateway.request("/api/tokens/verify", {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ token }),
      });
      return ((await response.json()) as { valid: boolean }).valid;
    },
    async () => {
      const init = { datasetId: dataset.id, accessToken: token, batchSize: 96 };
      return (await readAll(gateway.url, init)).end.code !== "unauthenticated";
    },
  ];
  for (const request of requests.slice(0, 4)) expect(await request()).toBe(true);
  await send("DELETE", `/api/tokens/${id}`);
  let passed = 0;
  for (let sent = 0; sent < 1_000; sent += 20) {
    const answers = await Promise.all(
      Array.from({ length: 20 }, (_, i) =>
        (requests[(sent + i) % requests.length] as (typeof requests)[0])(),
      ),
    );
    passed += answers.filter(Boolean).length;
  }
  expect(passed).toBe(0);
});
