/** Jobs in their Durable Object, which the platform may forget at any time, and datasets on the service's own surface. */
import { Code, ConnectError, createClient, type Transport } from "@connectrpc/connect";
import { createConnectTransport, createGrpcWebTransport } from "@connectrpc/connect-web";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { DataStreamService, TrustLevel, VerifyDepth } from "../../proto/index.ts";
import { toHex } from "../../core/bytes.ts";
import { canonicalJson } from "../../core/canonical-json.ts";
import { addUser } from "../api/users.ts";
import { startGateway, type TestGateway } from "../support/gateway.ts";
import { hash } from "./fixture.ts";

let gateway: TestGateway;
let strangerKey: string;
beforeAll(async () => {
  gateway = await startGateway();
  strangerKey = (await addUser(gateway, "stranger")).apiKey;
  for (const bucket of ["small", "large"]) {
    const body = JSON.stringify({ chunk_bytes: 16_384 });
    await gateway.request(`/api/buckets/${bucket}`, { method: "PUT", body, headers: JSON_TYPE });
  }
  // Rows alone: these jobs read no bytes of files.
  await gateway.database.sql.query({
    text: `insert into objects (bucket_id, key, state, size, content_hash)
      select b.id, 'f/' || i || '.png', 'live', i, sha256(i::text::bytea)
      from buckets b cross join lateral generate_series(1, case b.name when 'small' then 3 else 30000 end) as i`,
    values: [],
  });
});
afterAll(() => gateway.stop());

const JSON_TYPE = { "content-type": "application/json" };

interface JobAnswer {
  readonly state: string;
  readonly done: number;
  readonly total: number | null;
  readonly result: { readonly dataset_id: string; readonly [name: string]: unknown } | null;
}

async function post(path: string, body: unknown): Promise<{ readonly job_id: string }> {
  const response = await gateway.request(path, {
    method: "POST",
    body: JSON.stringify(body),
    headers: JSON_TYPE,
  });
  expect(response.status).toBe(202);
  return (await response.json()) as { job_id: string };
}

const creation = (name: string, bucket: string): Promise<{ readonly job_id: string }> =>
  post("/api/datasets", {
    name,
    files: [`${bucket}/f/*`],
    schema: { type: "image", format: "png", note: "ünïcode" },
  });

async function look(jobId: string): Promise<JobAnswer> {
  return (await (await gateway.request(`/api/jobs/${jobId}`)).json()) as JobAnswer;
}

const isOver = ({ state }: JobAnswer): boolean => state === "succeeded" || state === "failed";

/** Watches a job to its end, and does `disturb` at each news of progress. */
async function watch(jobId: string, disturb: (news: number) => Promise<void>): Promise<JobAnswer> {
  const seen: number[] = [];
  for (;;) {
    const job = await look(jobId);
    expect(job.done).toBeGreaterThanOrEqual(seen.at(-1) ?? 0);
    if (job.total !== null) expect(job.done).toBeLessThanOrEqual(job.total);
    if (isOver(job)) return job;
    if (job.done === seen.at(-1)) continue;
    seen.push(job.done);
    await disturb(seen.length);
  }
}

describe("a job whose object is forgotten", () => {
  test("by eviction goes on at its last step, and its progress never goes back", async () => {
    const { job_id: id } = await creation("evicted", "large");
    const job = await watch(id, () => gateway.evict("DatasetJob", id));
    expect(job).toMatchObject({
      state: "succeeded",
      done: 60_000,
      total: 60_000,
      result: { file_count: 30_000 },
    });
    const info = await (await gateway.request("/api/datasets/evicted")).json();
    const manifest = new Uint8Array(
      await (await gateway.request("/api/datasets/evicted/manifest")).arrayBuffer(),
    );
    expect(info).toMatchObject({
      content_hash: toHex(hash(manifest)),
      file_count: 30_000,
      max_item_bytes: 30_000,
    });
  });

  test("by the end of the process too", async () => {
    const { job_id: id } = await creation("restarted", "large");
    const job = await watch(id, (news) => (news <= 2 ? gateway.restart() : Promise.resolve()));
    expect(job).toMatchObject({ state: "succeeded", result: { version: 1, file_count: 30_000 } });
    const { rows } = {
      rows: await gateway.database.sql.query({ text: "select state from datasets", values: [] }),
    };
    expect(rows).toEqual([{ state: "ready" }, { state: "ready" }]);
  });
});

describe.each([
  ["Connect, binary", (baseUrl: string) => createConnectTransport({ baseUrl, useBinaryFormat: true })],
  ["Connect, JSON", (baseUrl: string) => createConnectTransport({ baseUrl })],
  ["gRPC-Web", (baseUrl: string) => createGrpcWebTransport({ baseUrl })],
])("the service over %s", (protocol, transportTo: (baseUrl: string) => Transport) => {
  const name = `pets-${protocol.toLowerCase().replaceAll(/[^a-z]+/g, "-")}`;
  const as = (credential: string): { readonly headers: Record<string, string> } => ({
    headers: { authorization: `Bearer ${credential}` },
  });
  const client = (): ReturnType<typeof createClient<typeof DataStreamService>> =>
    createClient(DataStreamService, transportTo(gateway.url));

  async function refusal(
    answer: Promise<unknown>,
  ): Promise<{ code: Code; message: string; details: number }> {
    const error = ConnectError.from(
      await answer.then(
        () => "accepted",
        (thrown: unknown) => thrown,
      ),
    );
    return { code: error.code, message: error.rawMessage, details: error.details.length };
  }

  beforeAll(async () => {
    const { job_id: id } = await creation(name, "small");
    expect(await watch(id, () => Promise.resolve())).toMatchObject({ state: "succeeded" });
  });

  test("describes a dataset to its owner and to the holder of a token", async () => {
    const mine = await client().getDatasetInfo({ datasetId: name }, as(gateway.owner.apiKey));
    const schema = { type: "image", format: "png", note: "ünïcode", labels: "none" };
    expect(mine).toMatchObject({
      name,
      ownerId: gateway.owner.userId,
      version: 1,
      fileCount: 3,
      fileCountExact: 3n,
      totalSizeBytes: 6n,
      maxItemBytes: 3n,
      manifestSizeBytes: BigInt(64 + 3 * (48 + "1.png".length)),
      trustLevel: TrustLevel.TRUST_SELF,
      schemaJson: canonicalJson(schema, "schema"),
      parentId: "",
    });
    expect(mine.schemaHash).toEqual(hash(new TextEncoder().encode(mine.schemaJson)));

    const { token } = await client().createAccessToken(
      { datasetId: name, scopes: ["stream"] },
      as(gateway.owner.apiKey),
    );
    expect(await client().getDatasetInfo({ datasetId: name, accessToken: token })).toEqual(mine);
    expect(await client().getDatasetInfo({ datasetId: mine.id }, as(token))).toEqual(mine);
  });

  test("issues tokens within their limits, and revokes them", async () => {
    const owner = as(gateway.owner.apiKey);
    const before = Math.floor(Date.now() / 1000);
    const issued = await client().createAccessToken({ datasetId: name, scopes: ["stream", "read"] }, owner);
    expect(issued.scopes).toEqual(["read", "stream"]);
    expect(Number(issued.expiresAt)).toBeGreaterThanOrEqual(before + 86_400);
    const open = (): Promise<unknown> =>
      client().getDatasetInfo({ datasetId: name, accessToken: issued.token });
    await open();
    expect((await refusal(client().revokeAccessToken({ tokenId: issued.id }, as(strangerKey)))).code).toBe(
      Code.NotFound,
    );
    await open();
    await client().revokeAccessToken({ tokenId: issued.id }, owner);
    expect(await refusal(open())).toMatchObject({ code: Code.Unauthenticated, details: 0 });

    const create = (request: object): Promise<unknown> =>
      client().createAccessToken({ datasetId: name, scopes: ["read"], ...request }, owner);
    for (const ttlSeconds of [59n, -1n, 2_592_001n]) {
      const refused = await refusal(create({ ttlSeconds }));
      expect(refused.code).toBe(Code.InvalidArgument);
      expect(refused.message).toContain("ttl_seconds");
    }
    await create({ ttlSeconds: 60n });
    await create({ ttlSeconds: 2_592_000n });
    const node = await refusal(create({ nodeId: "node-1" }));
    expect(node.code).toBe(Code.NotFound);
    expect(node.message).toContain("training node");
    expect((await refusal(create({ scopes: [] }))).code).toBe(Code.InvalidArgument);
  });

  test("answers a stranger as if nothing were there, and nobody without a key", async () => {
    const stranger = as(strangerKey);
    const calls = [
      (datasetId: string) => client().getDatasetInfo({ datasetId }, stranger),
      (datasetId: string) => client().createAccessToken({ datasetId, scopes: ["read"] }, stranger),
      (datasetId: string) => client().verifyDataset({ datasetId }, stranger),
    ];
    for (const call of calls) {
      const missing = await refusal(call("owner/nothing"));
      expect(missing.code).toBe(Code.NotFound);
      expect(await refusal(call(`owner/${name}`))).toEqual(missing);
    }
    expect((await refusal(client().getDatasetInfo({ datasetId: name }))).code).toBe(Code.Unauthenticated);
    expect((await refusal(client().verifyDataset({ datasetId: name }))).code).toBe(Code.Unauthenticated);
  });

  test("verifies at once, or names the job that does", async () => {
    const owner = as(gateway.owner.apiKey);
    const stored = await client().verifyDataset({ datasetId: name, checkPublicRegistry: true }, owner);
    expect(stored).toMatchObject({
      manifestValid: true,
      allFilesValid: true,
      filesChecked: 3n,
      filesFailed: 0n,
      jobId: "",
    });
    expect(stored.publicMatch).toBeUndefined();
    const manifest = await client().verifyDataset(
      { datasetId: name, depth: VerifyDepth.VERIFY_MANIFEST },
      owner,
    );
    expect(manifest).toMatchObject({ manifestValid: true, allFilesValid: false, filesChecked: 0n });

    const full = await client().verifyDataset(
      { datasetId: name, depth: VerifyDepth.VERIFY_FULL_READ },
      owner,
    );
    const job = await watch(full.jobId, () => Promise.resolve());
    // The rows of this test have no bytes behind them, and only a full read finds out.
    expect(job).toMatchObject({
      state: "succeeded",
      done: 3,
      total: 3,
      result: { manifest_valid: true, all_files_valid: false, files_failed: 3 },
    });
  });
});
