import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { viewHash } from "../../core/dataset/filter.ts";
import { ShuffleMode, TailPolicy, BatchHashMode } from "../../proto/index.ts";
import { blake3 } from "../core/blake3.ts";
import { expectBatches } from "./expected.ts";
import {
  addDataset,
  noiseFiles,
  startStreamGateway,
  type StreamGateway,
  type TestDataset,
} from "./fixture.ts";
import { readAll, type StreamInit } from "./wire.ts";

let gateway: StreamGateway;
let dataset: TestDataset;
let base: { datasetId: string; accessToken: string };
beforeAll(async () => {
  gateway = await startStreamGateway();
  // An empty file, tiny ones, some over several shards, one over several chunks.
  const sizes = [0, 1, 1024, 3000, 20_000, 70_000];
  dataset = await addDataset(
    gateway,
    noiseFiles(101, (i) => (i === 50 ? 200_000 : (sizes[i % 6] as number))),
  );
  base = { datasetId: dataset.id, accessToken: (await dataset.token()).token };
});
afterAll(() => gateway.stop());

async function stream(init: StreamInit): ReturnType<typeof readAll> {
  const answer = await readAll(gateway.url, { ...base, ...init });
  expect(answer.end).toMatchObject({ code: undefined, continuation: undefined });
  return answer;
}

describe("order and batches", () => {
  test("sequential is the manifest's order", async () => {
    const { batches } = await stream({ batchSize: 7 });
    expectBatches(dataset, { batchSize: 7 }, batches);
    expect(batches).toHaveLength(15);
    expect(new Set(batches.map(({ streamId }) => streamId)).size).toBe(1);
  });

  test("full shuffle by seed and epoch", async () => {
    for (const epoch of [0, 3]) {
      const { batches } = await stream({ batchSize: 16, shuffle: true, seed: -5n, epoch });
      expectBatches(dataset, { batchSize: 16, mode: "full", seed: -5n, epoch }, batches);
      expect(batches).toHaveLength(7);
    }
  });

  test("block shuffle", async () => {
    const block = { blockSize: 5, lanes: 4, blocksPerGroup: 2 };
    const { batches } = await stream({
      batchSize: 6,
      shuffleMode: ShuffleMode.SHUFFLE_BLOCK,
      seed: 1n,
      ...block,
    });
    expectBatches(dataset, { batchSize: 6, mode: "block", seed: 1n, block }, batches);
    expect(batches).toHaveLength(17);
  });

  test.each([
    ["short", TailPolicy.TAIL_SHORT],
    ["drop_last", TailPolicy.TAIL_DROP],
    ["pad", TailPolicy.TAIL_PAD],
  ] as const)("ranks share the epoch, tail %s", async (tail, wire) => {
    const seen = new Map<number, number>();
    for (const rank of [0, 1, 2]) {
      const { batches } = await stream({
        batchSize: 8,
        shuffle: true,
        rank,
        worldSize: 3,
        startIndex: 3n,
        tail: wire,
      });
      const expected = { batchSize: 8, mode: "full", rank, worldSize: 3, startIndex: 3, tail } as const;
      expectBatches(dataset, expected, batches);
      for (const batch of batches)
        batch.itemIndices
          .slice(0, batch.itemIndices.length - batch.paddedItems)
          .forEach((index) => seen.set(Number(index), (seen.get(Number(index)) ?? 0) + 1));
    }
    expect([...seen.values()].every((count) => count === 1)).toBe(true);
    expect(seen.size).toBe(tail === "drop_last" ? 96 : 98);
  });

  test("a framed batch hash where it is asked for", async () => {
    const { batches } = await stream({ batchSize: 50, batchHashMode: BatchHashMode.BATCH_HASH_FRAMED });
    expectBatches(dataset, { batchSize: 50, batchHash: "framed" }, batches);
  });

  test("what the consumer does with the items is in the transcript, and in nothing else", async () => {
    const processingHash = Uint8Array.from({ length: 32 }, (_, i) => 255 - i);
    const { batches } = await stream({ batchSize: 50, processingHash });
    expectBatches(dataset, { batchSize: 50, processingHash }, batches);
    const without = await stream({ batchSize: 50 });
    expect(batches.map(({ items }) => items)).toEqual(without.batches.map(({ items }) => items));
    expect(batches[0]?.transcriptHead).not.toEqual(without.batches[0]?.transcriptHead);
  });

  test("a filter is a view with positions of its own", async () => {
    const filter = { prefix: "class-1/", globs: ["**/item-0000[2-9]*.bin"] };
    const view = Uint32Array.from(
      dataset.files.flatMap(({ path }, i) => (/^class-1\/item-0000[2-9]/.test(path) ? [i] : [])),
    );
    expect(view.length).toBeGreaterThan(10);
    const { batches } = await stream({ batchSize: 4, shuffle: true, filter });
    expectBatches(
      dataset,
      { batchSize: 4, mode: "full", filter, view, viewHash: viewHash(view, blake3) },
      batches,
    );
    const again = await stream({ batchSize: 4, shuffle: true, filter });
    expect(again.batches.at(-1)?.transcriptHead).toEqual(batches.at(-1)?.transcriptHead);
  });

  test("more ranks than items leave some with nothing", async () => {
    const { batches } = await stream({ batchSize: 1, worldSize: 200, rank: 150 });
    expect(batches).toEqual([]);
  });
});
