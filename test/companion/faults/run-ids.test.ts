/** Two trainers that give the same run id, against the real gateway. */
import { afterAll, beforeAll, expect, test } from "vitest";
import type { StreamRequest } from "../../../companion/handoff/messages.ts";
import { addDataset, noiseFiles, startStreamGateway, type StreamGateway } from "../../stream/fixture.ts";
import { startCompanion, type TestCompanion } from "../service/companions.ts";
import { HandoffClient } from "../service/handoff-client.ts";

/** More than what is received ahead of a trainer and fits the sockets' buffers. */
const FILES = 160;
const FILE_BYTES = 256 * 1024;
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

test("the same rank: the later one has the whole stream, the earlier one is told", async () => {
  const first = await open();
  const held = await first.expect("batch");
  const second = await open();
  expect(await count(second)).toBe(FILES);
  second.kill();
  first.release(held);
  await expect(count(first)).rejects.toMatchObject({ code: "aborted" });
  first.kill();
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
