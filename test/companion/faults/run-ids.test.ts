/** Two trainers that give the same run id, against the real gateway. */
import { afterAll, beforeAll, expect, test } from "vitest";
import type { StreamRequest } from "../../../companion/handoff/messages.ts";
import { addDataset, noiseFiles, startStreamGateway, type StreamGateway } from "../../stream/fixture.ts";
import { startCompanion, type TestCompanion } from "../service/companions.ts";
import { startDoubleCompanion } from "./double-companion.ts";
import { HandoffClient } from "../service/handoff-client.ts";

const FILES = 60;
const FILE_BYTES = 128 * 1024;
let gateway: StreamGateway;
let companion: TestCompanion;
let request: StreamRequest;
beforeAll(async () => {
  gateway = await startStreamGateway();
  const files = noiseFiles(FILES, () => FILE_BYTES);
  const dataset = await addDataset(gateway, files, { chunkBytes: 4 * 2 ** 20 });
  const { token } = await dataset.token();
  request = { dataset: dataset.name, access_token: token, batch_size: 4, slots: 2, stream_id: "run" };
  companion = await startCompanion({ gateway: gateway.url });
});
afterAll(async () => {
  await companion.close();
  await gateway.stop();
});

async function open(more: Partial<StreamRequest> = {}): Promise<HandoffClient> {
  const client = await HandoffClient.connect(companion.socket);
  await client.open({ ...request, ...more });
  return client;
}

async function count(client: HandoffClient): Promise<number> {
  let items = 0;
  for await (const batch of client.batches()) items += batch.count;
  return items;
}

test("the same rank: the later one has the whole stream; the earlier has what was sent before, or is told", async () => {
  const first = await open();
  const held = await first.expect("batch");
  const second = await open();
  expect(await count(second)).toBe(FILES);
  second.kill();
  first.release(held);
  // All of it may have been on its way when the other came: that depends on how much the sockets between hold.
  const outcome = await count(first).then(
    (items) => (items + held.count === FILES ? "complete" : `${items} items`),
    (error: { code?: string }) => error.code,
  );
  expect(["complete", "aborted"]).toContain(outcome);
  first.kill();
});

test("a rank that another took over ends with aborted, after what had come", async () => {
  const double = await startDoubleCompanion();
  double.double.lies.endBefore = (batch) => (batch === 6 ? "overtaken" : undefined);
  const client = await double.connect();
  await client.open(double.request({ stream_id: "run" }));
  const seen: number[] = [];
  const all = async (): Promise<void> => {
    for await (const batch of client.batches()) seen.push(batch.index);
  };
  await expect(all()).rejects.toMatchObject({ code: "aborted" });
  expect(seen).toEqual([0, 1, 2, 3, 4, 5]);
  expect(double.double.requests).toHaveLength(1);
  client.kill();
  await double.close();
});

test("different ranks: each has its share", async () => {
  const ranks = await Promise.all([0, 1].map((rank) => open({ stream_id: "ranks", rank, world_size: 2 })));
  expect(await Promise.all(ranks.map(count))).toEqual([FILES / 2, FILES / 2]);
  for (const client of ranks) client.kill();
});

test("other parameters under the same id are refused", async () => {
  const client = await HandoffClient.connect(companion.socket);
  client.send({ type: "open", ...request, seed: "9", shuffle: true });
  expect(await client.expect("error")).toMatchObject({ code: "failed_precondition" });
  await client.closed();
});
