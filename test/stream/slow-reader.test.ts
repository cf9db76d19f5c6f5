import { connect, type Socket } from "node:net";
import { once } from "node:events";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type BatchResponse, BatchResponseSchema, StreamBatchesRequestSchema } from "../../proto/index.ts";
import { expectBatches } from "./expected.ts";
import {
  addDataset,
  noiseFiles,
  startStreamGateway,
  type StreamGateway,
  type TestDataset,
} from "./fixture.ts";

/** Large enough that a stalled connection holds messages in the gateway, not only in the kernel's buffers. */
const ITEM_BYTES = 256 * 1024;
const BATCH = 16;
let gateway: StreamGateway;
let dataset: TestDataset;
let token: string;
beforeAll(async () => {
  gateway = await startStreamGateway();
  dataset = await addDataset(
    gateway,
    noiseFiles(96, () => ITEM_BYTES),
    { chunkBytes: 4 * 1024 * 1024 },
  );
  ({ token } = await dataset.token());
});
afterAll(() => gateway.stop());

/** Sends a request on a socket that nothing reads from until told. */
async function request(streamId: string): Promise<Socket> {
  const message = toBinary(
    StreamBatchesRequestSchema,
    create(StreamBatchesRequestSchema, {
      datasetId: dataset.id,
      accessToken: token,
      batchSize: BATCH,
      streamId,
      shuffle: true,
    }),
  );
  const socket = connect(Number(new URL(gateway.url).port), "127.0.0.1");
  await once(socket, "connect");
  socket.pause();
  const head = Buffer.alloc(5);
  head.writeUInt32BE(message.length, 1);
  socket.write(
    `POST /cyxcloud.datastream.DataStreamService/StreamBatches HTTP/1.1\r\nHost: test\r\nConnection: close\r\n` +
      `Content-Type: application/connect+proto\r\nContent-Length: ${5 + message.length}\r\n\r\n`,
  );
  socket.write(Buffer.concat([head, message]));
  return socket;
}

/** The batches of the response, read to its end. */
async function read(socket: Socket): Promise<BatchResponse[]> {
  const pieces: Buffer[] = [];
  for await (const piece of socket) pieces.push(piece as Buffer);
  const all = Buffer.concat(pieces);
  const body = unchunk(all.subarray(all.indexOf("\r\n\r\n") + 4));
  const batches: BatchResponse[] = [];
  for (let at = 0; body[at] === 0;) {
    const end = at + 5 + body.readUInt32BE(at + 1);
    batches.push(fromBinary(BatchResponseSchema, body.subarray(at + 5, end)));
    at = end;
  }
  return batches;
}

/** RFC 9112, section 7.1. */
function unchunk(bytes: Buffer): Buffer {
  const parts: Buffer[] = [];
  for (let at = 0; ;) {
    const end = bytes.indexOf("\r\n", at);
    const length = Number.parseInt(bytes.toString("latin1", at, end), 16);
    if (length === 0) return Buffer.concat(parts);
    parts.push(bytes.subarray(end + 2, end + 2 + length));
    at = end + 2 + length + 2;
  }
}

test("memory that is used again never shows in what a slow reader gets", async () => {
  // These stand still, messages waiting in the gateway, while others use whatever memory there is.
  const stalled = await Promise.all([1, 2, 3, 4].map((n) => request(`stalled-${n}`)));
  await Promise.all(stalled.map((socket) => once(socket, "readable")));
  for (let n = 1; n <= 3; n++) expectWhole(await read(await request(`quick-${n}`)));
  for (const batches of await Promise.all(stalled.map(read))) expectWhole(batches);
});

function expectWhole(batches: readonly BatchResponse[]): void {
  expectBatches(dataset, { batchSize: BATCH, mode: "full" }, batches);
  expect(batches).toHaveLength(6);
}
