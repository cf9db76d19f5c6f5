import { randomUUID } from "node:crypto";
import { createClient, type Transport } from "@connectrpc/connect";
import { createConnectTransport, createGrpcWebTransport } from "@connectrpc/connect-web";
import {
  compressionGzip,
  createConnectTransport as createNodeConnectTransport,
  createGrpcWebTransport as createNodeGrpcWebTransport,
} from "@connectrpc/connect-node";
import { create, toBinary } from "@bufbuild/protobuf";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { DataStreamService, StreamBatchesRequestSchema, type BatchResponse } from "../../proto/index.ts";
import { expectBatches } from "./expected.ts";
import type { StreamInit } from "./wire.ts";
import {
  addDataset,
  noiseFiles,
  startStreamGateway,
  type StreamGateway,
  type TestDataset,
} from "./fixture.ts";

const PATH = "/cyxcloud.datastream.DataStreamService/StreamBatches";
let gateway: StreamGateway;
let dataset: TestDataset;
let token: string;
beforeAll(async () => {
  gateway = await startStreamGateway({ bindings: { INVOCATION_SUBREQUESTS: "50" } });
  dataset = await addDataset(
    gateway,
    noiseFiles(40, (i) => 100 + 61 * i),
  );
  ({ token } = await dataset.token());
});
afterAll(() => gateway.stop());

type MakeTransport = (baseUrl: string) => Transport;
const transports: [string, MakeTransport][] = [
  ["Connect, binary, fetch", (baseUrl) => createConnectTransport({ baseUrl, useBinaryFormat: true })],
  ["Connect, JSON, fetch", (baseUrl) => createConnectTransport({ baseUrl, useBinaryFormat: false })],
  ["gRPC-Web, binary, fetch", (baseUrl) => createGrpcWebTransport({ baseUrl, useBinaryFormat: true })],
  ["gRPC-Web, JSON, fetch", (baseUrl) => createGrpcWebTransport({ baseUrl, useBinaryFormat: false })],
  [
    "Connect, binary, Node, gzip",
    (baseUrl) =>
      createNodeConnectTransport({
        baseUrl,
        httpVersion: "1.1",
        sendCompression: compressionGzip,
        compressMinBytes: 0,
      }),
  ],
  [
    "gRPC-Web, binary, Node, gzip",
    (baseUrl) =>
      createNodeGrpcWebTransport({
        baseUrl,
        httpVersion: "1.1",
        sendCompression: compressionGzip,
        compressMinBytes: 0,
      }),
  ],
];

describe.each(transports)("%s", (_, transport) => {
  test("streams an epoch, acknowledges, and carries errors", async () => {
    const client = createClient(DataStreamService, transport(gateway.url));
    const base = { datasetId: dataset.id, accessToken: token };
    const batches: BatchResponse[] = [];
    for await (const batch of client.streamBatches({ ...base, batchSize: 6, shuffle: true, seed: 3n }))
      batches.push(batch);
    expectBatches(dataset, { batchSize: 6, mode: "full", seed: 3n }, batches);
    expect(batches).toHaveLength(7);

    const { streamId, lease, transcriptHead, batchIndex } = batches.at(-1) as BatchResponse;
    const ack = { ...base, streamId, lease, transcriptHead, batchIndex };
    expect((await client.ackBatches(ack)).acknowledgedBatches).toBe(7n);
    await expect(client.ackBatches({ ...ack, lease: lease + 1n })).rejects.toThrow(
      /^\[failed_precondition\] lease: /,
    );

    const refused = (async () => {
      for await (const batch of client.streamBatches({ ...base, batchSize: 0 }))
        expect.unreachable(String(batch.batchIndex));
    })();
    await expect(refused).rejects.toThrow("[invalid_argument] batch_size: must be at least 1, not 0.");
    const unknown = (async () => {
      for await (const batch of client.streamBatches({ ...base, accessToken: "no", batchSize: 1 }))
        expect.unreachable(String(batch.batchIndex));
    })();
    await expect(unknown).rejects.toThrow("[unauthenticated]");
  });

  test("learns where to go on when the invocation has to end", async () => {
    const client = createClient(DataStreamService, transport(gateway.url));
    const many = await scattered();
    const batches: BatchResponse[] = [];
    const responses: number[] = [];
    for (let next: string | null = "0"; next !== null;) {
      let trailer: Headers | undefined;
      const options = { onTrailer: (received: Headers) => (trailer = received) };
      const request = { ...many.request, resumeBatchIndex: BigInt(next) };
      const before = batches.length;
      for await (const batch of client.streamBatches(request, options)) batches.push(batch);
      responses.push(batches.length - before);
      next = trailer?.get("cyxcloud-continuation") ?? null;
    }
    expectBatches(many.dataset, { batchSize: 20, mode: "full" }, batches);
    expect(batches).toHaveLength(20);
    expect(responses.length).toBeGreaterThan(1);
    expect(Math.min(...responses)).toBeGreaterThan(0);
  });
});

let made: Promise<{ dataset: TestDataset; request: StreamInit }> | undefined;

/** A dataset of more shards than an invocation may read here. */
function scattered(): NonNullable<typeof made> {
  made ??= (async () => {
    const many = await addDataset(
      gateway,
      noiseFiles(400, (i) => 300 + 7 * (i % 90)),
      { chunkBytes: 16 * 1024 },
    );
    const request = {
      datasetId: many.id,
      accessToken: (await many.token()).token,
      batchSize: 20,
      shuffle: true,
      streamId: randomUUID(),
    };
    return { dataset: many, request };
  })();
  return made;
}

test("a token in the Authorization header does as well", async () => {
  const client = createClient(
    DataStreamService,
    createConnectTransport({ baseUrl: gateway.url, useBinaryFormat: true }),
  );
  const headers = { authorization: `Bearer ${token}` };
  for await (const batch of client.streamBatches({ datasetId: dataset.name, batchSize: 50 }, { headers }))
    expect(batch.items).toHaveLength(40);
});

describe("what cannot be served is refused in the protocol's own way", () => {
  const message = (): Uint8Array<ArrayBuffer> =>
    toBinary(
      StreamBatchesRequestSchema,
      create(StreamBatchesRequestSchema, { datasetId: dataset.id, accessToken: token, batchSize: 40 }),
    );
  const post = (headers: Record<string, string>, flags: number, body = message()): Promise<Response> => {
    const framed = new Uint8Array(5 + body.length);
    framed[0] = flags;
    new DataView(framed.buffer).setUint32(1, body.length);
    framed.set(body, 5);
    return fetch(gateway.url + PATH, { method: "POST", headers, body: framed });
  };

  test.each([
    "application/grpc",
    "application/grpc+proto",
    "application/grpc-web-text",
    "application/grpc-web-text+proto",
    "text/plain",
  ])("%s: 415", async (contentType) => {
    const response = await post({ "content-type": contentType }, 0);
    expect(response.status).toBe(415);
    expect(response.headers.get("grpc-status")).toBeNull();
  });

  test("another compression", async () => {
    const headers = { "content-type": "application/connect+proto", "connect-content-encoding": "br" };
    const response = await post(headers, 1);
    expect(response.status).toBe(200);
    expect(await response.text()).toMatch(/"code":"unimplemented".*gzip and identity/);
  });

  test("what is no gzip, no message, or too much of it", async () => {
    const connect = { "content-type": "application/connect+proto", "connect-content-encoding": "gzip" };
    expect(await (await post(connect, 1)).text()).toContain('"code":"invalid_argument"');
    expect(await (await post(connect, 0, new Uint8Array([255, 255]))).text()).toContain(
      "is not a StreamBatchesRequest",
    );
    const grpc = { "content-type": "application/grpc-web+proto" };
    const answer = await post(grpc, 0, new Uint8Array(2_000_000));
    expect(await answer.text()).toMatch(
      /grpc-message: body%3A%20a%20request.*\r\ngrpc-status: 3|grpc-status: 3/,
    );
    const cut = await fetch(gateway.url + PATH, {
      method: "POST",
      headers: connect,
      body: new Uint8Array(3),
    });
    expect(await cut.text()).toContain("exactly one message");
  });

  test("a deadline that is over", async () => {
    const headers = { "content-type": "application/connect+proto", "connect-timeout-ms": "x" };
    expect(await (await post(headers, 0)).text()).toContain('"code":"invalid_argument"');
  });

  test("a browser of another origin may call", async () => {
    const response = await fetch(gateway.url + PATH, {
      method: "OPTIONS",
      headers: {
        origin: "https://console.example",
        "access-control-request-method": "POST",
        "access-control-request-headers": "connect-protocol-version,content-type,authorization",
      },
    });
    expect(response.status).toBe(204);
    expect(response.headers.get("access-control-allow-origin")).toBe("*");
    const allowed = response.headers.get("access-control-allow-headers")?.toLowerCase() ?? "";
    for (const name of ["connect-protocol-version", "content-type", "authorization", "x-grpc-web"])
      expect(allowed).toContain(name);
  });
});
