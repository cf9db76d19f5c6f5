import { afterAll, beforeAll, expect, test } from "vitest";
import {
  addDataset,
  noiseFiles,
  startStreamGateway,
  type StreamGateway,
  type TestDataset,
} from "./fixture.ts";
import { readAll, WireStream, type StreamInit } from "./wire.ts";

const BATCHES = 20;
const ends: { stream: string; end: string; batches: number }[] = [];
let heard: (() => void) | undefined;
let gateway: StreamGateway;
let dataset: TestDataset;
let init: StreamInit;
beforeAll(async () => {
  gateway = await startStreamGateway({
    onLog({ message }) {
      if (!message.includes('"stream_end"')) return;
      const line = JSON.parse(message) as { stream_id: string; end: string; batches: number };
      ends.push({ stream: line.stream_id, end: line.end, batches: line.batches });
      heard?.();
    },
  });
  dataset = await addDataset(
    gateway,
    noiseFiles(BATCHES * 4, () => 700_000),
    { chunkBytes: 1024 * 1024 },
  );
  init = { datasetId: dataset.id, accessToken: (await dataset.token()).token, batchSize: 4 };
});
afterAll(() => gateway.stop());

/** How the stream ended, by the gateway's own account. */
async function endOf(stream: string): Promise<(typeof ends)[number]> {
  for (;;) {
    const found = ends.find((each) => each.stream === stream);
    if (found !== undefined) return found;
    await new Promise<void>((resolve) => (heard = resolve));
  }
}

test("a client that is gone stops its stream long before the end", async () => {
  const stream = await WireStream.open(gateway.url, { ...init, streamId: "gone" });
  expect(await stream.next()).toBeDefined();
  stream.cut();
  const end = await endOf("gone");
  expect(end.end).toBe("cancelled");
  expect(end.batches).toBeLessThan(BATCHES);
});

test("what clients that were cut held is there for others", async () => {
  // More of them than fit the gateway's memory at once.
  for (let n = 0; n < 30; n++) {
    const stream = await WireStream.open(gateway.url, { ...init, streamId: `cut-${n}` });
    await stream.nibble(1000);
    stream.cut();
    await endOf(`cut-${n}`);
  }
  const { batches, end } = await readAll(gateway.url, { ...init, streamId: "whole" });
  expect(end.code).toBeUndefined();
  expect(batches).toHaveLength(BATCHES);
});
