/** The real gateway stops in the middle of a stream and starts again, with nothing but what it had stored. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { addDataset, noiseFiles, startStreamGateway, type StreamGateway } from "../../stream/fixture.ts";
import { startCompanion, type TestCompanion } from "./companions.ts";
import { HandoffClient, type BatchMessage } from "./handoff-client.ts";

/** More than sockets, pools and slots hold together, so that some of it is still to come whenever the gateway stops. */
const FILES = 128;
const FILE_BYTES = 512 * 1024;
const BATCH = 4;

let gateway: StreamGateway;
let companion: TestCompanion;
beforeAll(async () => {
  gateway = await startStreamGateway();
  companion = await startCompanion({ gateway: gateway.url });
});
afterAll(async () => {
  await companion.close();
  await gateway.stop();
});

test("the trainer gets every item of the epoch once, and none wrong", async () => {
  const files = noiseFiles(FILES, () => FILE_BYTES);
  const dataset = await addDataset(gateway, files, { chunkBytes: 4 * 2 ** 20 });
  const { token } = await dataset.token();
  const client = await HandoffClient.connect(companion.socket);
  await client.open({
    dataset: dataset.name,
    access_token: token,
    batch_size: BATCH,
    slots: 2,
    shuffle: true,
    seed: "11",
  });

  const seen: number[] = [];
  let batches = 0;
  let restarted: Promise<void> | undefined;
  const take = (batch: BatchMessage): void => {
    expect(batch.index).toBe(batches++);
    const data = client.read(batch, "data");
    const [ends, indices] = [client.read(batch, "ends"), client.read(batch, "indices")];
    let start = 0;
    for (let n = 0; n < batch.count; n++) {
      const end = Number(ends.readBigUInt64LE(8 * n));
      const index = Number(indices.readBigUInt64LE(8 * n));
      expect(data.compare(files[index]?.bytes as Uint8Array, 0, undefined, start, end), `item ${index}`).toBe(
        0,
      );
      seen.push(index);
      start = end;
    }
  };
  for await (const batch of client.batches()) {
    take(batch);
    // Once while the trainer waits for it, and once while it goes on.
    if (batch.index === 2) await gateway.restart();
    if (batch.index === 12) restarted = gateway.restart();
  }
  await restarted;

  expect(seen.toSorted((a, b) => a - b)).toEqual(Array.from({ length: FILES }, (_, i) => i));
  const metrics = await (await fetch(`${companion.url}/metrics`)).text();
  const reconnects = Number(/cyxcloud_companion_gateway_reconnects_total (\d+)/.exec(metrics)?.[1]);
  expect(reconnects).toBeGreaterThanOrEqual(1);
  client.kill();
});
