/** The companion's port as stock clients see it: gRPC, gRPC-Web, Connect, JSON, and what it answers itself. */
import { once } from "node:events";
import { request as httpRequest } from "node:http";
import { connect } from "node:net";
import { join } from "node:path";
import { Code, createClient, type Client, type Transport } from "@connectrpc/connect";
import {
  createConnectTransport,
  createGrpcTransport,
  createGrpcWebTransport,
} from "@connectrpc/connect-node";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { equalBytes } from "../../../core/bytes.ts";
import { framedBatchHash, concatenatedBatchHash } from "../../../core/stream/transcript.ts";
import { loadKernels } from "../../../kernels/index.ts";
import { BatchHashMode, DataStreamService } from "../../../proto/index.ts";
import { startCompanion, type TestCompanion } from "./companions.ts";
import { DATASET, FILES, startLetters, type Letters } from "./letters.ts";

let letters: Letters;
let companion: TestCompanion;
beforeAll(async () => {
  letters = await startLetters();
  companion = await startCompanion({ gateway: letters.gateway.url, allowed_origins: "https://lab.example" });
});
afterAll(async () => {
  await companion.close();
  await letters.stop();
});

const { blake3 } = await loadKernels({ heapBytes: 1 << 20 });
const streamRequest = (): { datasetId: string; accessToken: string; batchSize: number } => ({
  datasetId: DATASET,
  accessToken: letters.token,
  batchSize: 8,
});

const TRANSPORTS: [name: string, open: (baseUrl: string) => Transport][] = [
  ["gRPC", (baseUrl) => createGrpcTransport({ baseUrl })],
  ["gRPC-Web", (baseUrl) => createGrpcWebTransport({ baseUrl, httpVersion: "1.1" })],
  ["Connect", (baseUrl) => createConnectTransport({ baseUrl, httpVersion: "1.1" })],
  ["Connect over HTTP/2", (baseUrl) => createConnectTransport({ baseUrl, httpVersion: "2" })],
  ["JSON", (baseUrl) => createConnectTransport({ baseUrl, httpVersion: "1.1", useBinaryFormat: false })],
];

describe.each(TRANSPORTS)("%s", (_, open) => {
  const client = (): Client<typeof DataStreamService> => createClient(DataStreamService, open(companion.url));

  test("streams an epoch whose hashes fit, item by item", async () => {
    for (const batchHashMode of [BatchHashMode.BATCH_HASH_FRAMED, BatchHashMode.BATCH_HASH_CONCATENATED]) {
      const seen: bigint[] = [];
      for await (const batch of client().streamBatches({
        ...streamRequest(),
        shuffle: true,
        batchHashMode,
      })) {
        for (const [i, item] of batch.items.entries())
          expect(equalBytes(blake3.hash(item), batch.itemHashes[i] as Uint8Array)).toBe(true);
        const sizes = batch.items.map((item) => item.byteLength);
        const hash =
          batchHashMode === BatchHashMode.BATCH_HASH_FRAMED
            ? framedBatchHash(Number(batch.batchIndex), sizes, batch.itemHashes, blake3)
            : concatenatedBatchHash(batch.items, blake3);
        expect(equalBytes(hash, batch.batchHash)).toBe(true);
        expect(batch.isLast).toBe(batch.batchIndex === 6n);
        seen.push(...batch.itemIndices);
      }
      expect(seen.map(Number).toSorted((a, b) => a - b)).toEqual(
        Array.from({ length: FILES }, (_each, i) => i),
      );
    }
  });

  test("the other calls go to the gateway with the caller's own credentials", async () => {
    const info = await client().getDatasetInfo({ datasetId: DATASET, accessToken: letters.token });
    expect(info).toMatchObject({ name: DATASET, fileCountExact: BigInt(FILES) });
    const headers = { authorization: `Bearer ${letters.gateway.owner.apiKey}` };
    const made = await client().createAccessToken({ datasetId: DATASET, scopes: ["stream"] }, { headers });
    expect(made.scopes).toContain("stream");
    await client().revokeAccessToken({ tokenId: made.id }, { headers });
    await expect(
      client().getDatasetInfo({ datasetId: DATASET, accessToken: made.token }),
    ).rejects.toMatchObject({
      code: Code.Unauthenticated,
    });
    await expect(
      client().createAccessToken({ datasetId: DATASET, scopes: ["stream"] }),
    ).rejects.toMatchObject({
      code: Code.Unauthenticated,
    });
  });

  test("acknowledgements reach the session, which goes on behind them", async () => {
    const streamId = `acknowledged-${_}`;
    for await (const batch of client().streamBatches({ ...streamRequest(), streamId })) {
      if (batch.batchIndex !== 2n) continue;
      const { lease, batchIndex, transcriptHead } = batch;
      const answer = await client().ackBatches({
        ...streamRequest(),
        streamId,
        lease,
        batchIndex,
        transcriptHead,
      });
      expect(answer.acknowledgedBatches).toBe(3n);
      break;
    }
    const rest: bigint[] = [];
    for await (const batch of client().streamBatches({ ...streamRequest(), streamId }))
      rest.push(batch.batchIndex);
    expect(rest).toEqual([3n, 4n, 5n, 6n]);
  });

  test("refusals keep their code", async () => {
    const refused = async (change: object): Promise<unknown> => {
      try {
        for await (const batch of client().streamBatches({ ...streamRequest(), ...change })) void batch;
      } catch (error) {
        return error;
      }
      return undefined;
    };
    expect(await refused({ accessToken: "" })).toMatchObject({ code: Code.Unauthenticated });
    expect(await refused({ accessToken: "eyJ.a.b" })).toMatchObject({ code: Code.Unauthenticated });
    expect(await refused({ batchSize: 0 })).toMatchObject({ code: Code.InvalidArgument });
    expect(await refused({ startIndex: -1n })).toMatchObject({ code: Code.InvalidArgument });
    expect(await refused({ startIndex: 50n })).toMatchObject({ code: Code.InvalidArgument });
  });
});

/** One plain request; resolves with status and body. */
function ask(
  path: string,
  { method = "GET", headers = {} }: { method?: string; headers?: Record<string, string> } = {},
): Promise<{ status: number; body: string; headers: Record<string, unknown> }> {
  return new Promise((resolve, reject) => {
    const request = httpRequest(companion.url + path, { method, headers }, (response) => {
      const pieces: Buffer[] = [];
      response.on("data", (piece: Buffer) => pieces.push(piece));
      response.on("end", () =>
        resolve({
          status: response.statusCode ?? 0,
          body: Buffer.concat(pieces).toString(),
          headers: response.headers,
        }),
      );
    });
    request.on("error", reject);
    request.end();
  });
}

test("it says who it is, how it is, and what it did", async () => {
  const wellKnown = await ask("/.well-known/cyxcloud-companion");
  expect(JSON.parse(wellKnown.body)).toMatchObject({
    protocol: 1,
    pid: process.pid,
    handoff_socket: companion.socket,
    gateway: letters.gateway.url,
    backends: [{ name: "cuda-ipc" }, { name: "cuda-hostreg" }, { name: "shm", available: true }],
  });
  const health = await ask("/healthz");
  expect([health.status, JSON.parse(health.body)]).toEqual([
    200,
    { live: true, ready: true, draining: false, streams: 0 },
  ]);
  const metrics = await ask("/metrics");
  expect(metrics.body).toMatch(/cyxcloud_companion_streams_opened_total\{kind="grpc"\} \d+/);
  expect(metrics.body).toMatch(/cyxcloud_companion_data_ready_quantile_seconds\{rank="0",quantile="0.99"\} /);
  expect(metrics.body).toMatch(/cyxcloud_companion_items_total\{rank="0"\} [1-9]/);
  expect(await ask("/elsewhere")).toMatchObject({ status: 404 });
  expect(await ask("/metrics", { method: "POST" })).toMatchObject({ status: 405 });
});

test.each([
  ["a name that was made to mean this machine", { host: "evil.example" }, 421],
  ["a name that begins like loopback's", { host: "localhost.evil.example:80" }, 421],
  ["a web page", { origin: "https://evil.example" }, 403],
  ["a page without an origin of its own", { origin: "null" }, 403],
  ["an IPv6 loopback", { host: "[::1]:50052" }, 200],
  ["a page that is listed", { origin: "https://lab.example" }, 200],
])("%s", async (_, headers, status) => {
  expect(await ask("/.well-known/cyxcloud-companion", { headers })).toMatchObject({ status });
});

test("a listed page is told what it may send", async () => {
  const headers = { origin: "https://lab.example", "access-control-request-method": "POST" };
  const preflight = await ask("/cyxcloud.datastream.DataStreamService/GetDatasetInfo", {
    method: "OPTIONS",
    headers,
  });
  expect(preflight.status).toBe(204);
  expect(preflight.headers["access-control-allow-origin"]).toBe("https://lab.example");
  expect(preflight.headers["access-control-allow-headers"]).toMatch(/Authorization/);
});

test("a request is understood however it is cut, and a connection takes more than one", async () => {
  const socket = connect(companion.port, "127.0.0.1");
  await once(socket, "connect");
  socket.setNoDelay(true);
  const text = "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";
  let answers = "";
  const two = new Promise<void>((resolve) => {
    socket.on("data", (piece: Buffer) => {
      answers += piece.toString();
      if (answers.match(/"live":true/g)?.length === 2) resolve();
    });
  });
  for (const character of text) await new Promise((resolve) => socket.write(character, resolve));
  socket.write(text);
  await two;
  socket.destroy();
});

test("what is neither HTTP/1.1 nor HTTP/2 harms nobody", async () => {
  for (const bytes of ["PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nnot a frame at all", "PRI * HTTX", "\0\0\0", "P"]) {
    const socket = connect(companion.port, "127.0.0.1");
    socket.on("error", () => undefined);
    socket.resume();
    socket.end(bytes);
    await once(socket, "close");
  }
  expect(await ask("/healthz")).toMatchObject({ status: 200 });
});

test("a caller that leaves ends the stream", async () => {
  const client = createClient(DataStreamService, createGrpcTransport({ baseUrl: companion.url }));
  const batches = client.streamBatches({ ...streamRequest(), batchSize: 1 })[Symbol.asyncIterator]();
  expect((await batches.next()).value).toMatchObject({ batchIndex: 0n });
  await batches.return?.();
  await companion.companion.quiet();
  expect(companion.companion.streams).toBe(0);
});

test("over a Unix socket the host means nothing", async () => {
  const own = await startCompanion({
    gateway: letters.gateway.url,
    listen: `unix:${join(companion.folder, "port.sock")}`,
  });
  const answer = await new Promise<number>((resolve, reject) => {
    const socketPath = own.url.slice("unix:".length);
    httpRequest({ socketPath, path: "/healthz", headers: { host: "what.ever" } }, (response) =>
      resolve(response.resume().statusCode ?? 0),
    )
      .on("error", reject)
      .end();
  });
  expect(answer).toBe(200);
  expect(own.socket).toContain("handoff");
  await own.close();
});
