/** What the object of a stream keeps: nothing, unless somebody attached. */
import { randomUUID } from "node:crypto";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { BatchResponse } from "../../proto/index.ts";
import {
  addDataset,
  noiseFiles,
  startStreamGateway,
  type StreamGateway,
  type TestDataset,
} from "./fixture.ts";
import { acknowledge, ackOf, readAll, type StreamInit, WireStream } from "./wire.ts";

let gateway: StreamGateway;
let dataset: TestDataset;
let token: string;
beforeAll(async () => {
  gateway = await startStreamGateway({ entry: join(import.meta.dirname, "session-storage.worker.ts") });
  dataset = await addDataset(
    gateway,
    noiseFiles(4, () => 100),
  );
  ({ token } = await dataset.token());
});
afterAll(() => gateway.stop());

const init = (streamId: string, fields: StreamInit = {}): StreamInit => ({
  datasetId: dataset.id,
  accessToken: token,
  batchSize: 2,
  streamId,
  ...fields,
});
const kept = async (stream: string): Promise<unknown> => {
  const query = new URLSearchParams({ user: gateway.owner.userId, dataset: dataset.id, stream });
  return (await fetch(new URL(`/kept?${query.toString()}`, gateway.url))).json();
};
const receipt = async (stream: string): Promise<number> =>
  (await gateway.request(`/api/streams/${stream}/receipt?dataset=${dataset.id}`)).status;

const NOTHING = { tables: 0, hasAlarm: false };

test("acknowledgements, receipts and refused requests for an unknown stream leave nothing behind", async () => {
  const known = init(randomUUID());
  const stream = await WireStream.open(gateway.url, known);
  const batch = (await stream.next()) as BatchResponse;
  stream.cut();

  const unknown = randomUUID();
  expect(await kept(unknown)).toEqual(NOTHING);
  const ack = { ...ackOf(known, batch), streamId: unknown };
  await expect(acknowledge(gateway.url, ack)).rejects.toMatchObject({ code: "failed_precondition" });
  expect(await receipt(unknown)).toBe(404);
  const beyond = await readAll(gateway.url, init(unknown, { resumeBatchIndex: 99n }));
  expect(beyond.end.code).toBe("invalid_argument");
  expect(await kept(unknown)).toEqual(NOTHING);

  // Evicted and loaded again it knows no more.
  await gateway.evict("StreamSession", JSON.stringify([gateway.owner.userId, dataset.id, unknown]));
  expect(await receipt(unknown)).toBe(404);
  expect(await kept(unknown)).toEqual(NOTHING);
});

test("a stream that somebody attached to is kept, and so after its object was evicted", async () => {
  const streamId = randomUUID();
  const first = await readAll(gateway.url, init(streamId));
  expect(first.batches).toHaveLength(2);
  expect(await kept(streamId)).toMatchObject({ hasAlarm: true, tables: expect.any(Number) });
  expect(await kept(streamId)).not.toMatchObject({ tables: 0 });
  await gateway.evict("StreamSession", JSON.stringify([gateway.owner.userId, dataset.id, streamId]));
  const last = first.batches.at(-1) as BatchResponse;
  expect(await acknowledge(gateway.url, ackOf(init(streamId), last))).toMatchObject({
    acknowledgedBatches: 2n,
  });
  expect(await receipt(streamId)).toBe(200);
});
