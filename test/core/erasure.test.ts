import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { checkChunkCapacity, checkGeometry } from "../../core/erasure/geometry.ts";
import { placeShards, rankNodes, replacementNode } from "../../core/erasure/placement.ts";
import { sourceSetCount, sourceSets } from "../../core/erasure/sources.ts";
import { blake3 } from "./blake3.ts";

describe("source sets", () => {
  test("are all k-subsets, each once, the preferred one first", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 6 }), fc.integer({ min: 0, max: 4 }), fc.nat(4), (k, m, lost) => {
        const available = Array.from({ length: Math.max(0, k + m - lost) }, (_, i) => i).toReversed();
        const sets = [...sourceSets(available, k)];
        expect(sets).toHaveLength(sourceSetCount(available.length, k));
        expect(new Set(sets.map((set) => set.toSorted((a, b) => a - b).join())).size).toBe(sets.length);
        for (const set of sets) {
          expect(set).toHaveLength(k);
          expect(set.every((index) => available.includes(index))).toBe(true);
        }
        expect(sets[0]).toEqual(available.length < k ? undefined : available.slice(0, k));
      }),
    );
  });

  test("of 4+2 are 15, of 10+4 1,001", () => {
    expect([...sourceSets([0, 1, 2, 3, 4, 5], 4)]).toHaveLength(15);
    expect(sourceSetCount(14, 10)).toBe(1_001);
    expect([...sourceSets([1, 2, 3], 4)]).toEqual([]);
  });

  test("leave a single liar among the first k out within k further tries", () => {
    for (let liar = 0; liar < 4; liar++) {
      const tries = [...sourceSets([0, 1, 2, 3, 4, 5], 4)].findIndex((set) => !set.includes(liar));
      expect(tries).toBeLessThanOrEqual(4);
    }
  });
});

describe("placement", () => {
  const nodes = Array.from({ length: 9 }, (_, i) => `node-${i + 1}`);

  test("is deterministic, whatever the order of the nodes, and on different nodes", () => {
    fc.assert(
      fc.property(fc.uuid(), fc.shuffledSubarray(nodes, { minLength: 6 }), (chunkId, live) => {
        const placed = placeShards(chunkId, live, 6, blake3);
        expect(new Set(placed).size).toBe(6);
        expect(placeShards(chunkId, live.toSorted(), 6, blake3)).toEqual(placed);
        expect(placed.every((id) => live.includes(id))).toBe(true);
      }),
    );
  });

  test("keeps the other shards where they are when a node goes", () => {
    fc.assert(
      fc.property(fc.uuid(), fc.constantFrom(...nodes), (chunkId, gone) => {
        const before = rankNodes(chunkId, nodes, blake3);
        const after = rankNodes(
          chunkId,
          nodes.filter((id) => id !== gone),
          blake3,
        );
        expect(after).toEqual(before.filter((id) => id !== gone));
        const inUse = new Set(before.slice(0, 6).filter((id) => id !== gone));
        const replacement = replacementNode(chunkId, after, inUse, blake3);
        expect(replacement).toBe(after.find((id) => !inUse.has(id)));
      }),
    );
    expect(replacementNode("chunk", nodes, new Set(nodes), blake3)).toBeUndefined();
  });

  test("spreads chunks evenly", () => {
    const shards = new Map(nodes.map((id) => [id, 0]));
    for (let i = 0; i < 3_000; i++)
      for (const id of placeShards(`chunk-${i}`, nodes, 6, blake3))
        shards.set(id, (shards.get(id) as number) + 1);
    // 2,000 each on average with a deviation of about 26.
    for (const count of shards.values()) expect(Math.abs(count - 2_000)).toBeLessThan(130);
  });

  test("needs as many nodes as shards; naming one twice does not help", () => {
    expect(() => placeShards("chunk", [...nodes.slice(0, 5), "node-1"], 6, blake3)).toThrow(
      expect.objectContaining({ code: "unavailable", details: { needed: 6, available: 5 } }),
    );
  });
});

test.each([
  ["data_shards", { dataShards: 0, parityShards: 2 }],
  ["data_shards", { dataShards: 22, parityShards: 2 }],
  ["parity_shards", { dataShards: 4, parityShards: 0 }],
  ["parity_shards", { dataShards: 4, parityShards: 5 }],
])("%s outside its limits: %o", (field, geometry) => {
  expect(() => checkGeometry(geometry)).toThrow(
    expect.objectContaining({ code: "invalid_argument", details: expect.objectContaining({ field }) }),
  );
});

test("a chunk has 4 KiB to 16 MiB", () => {
  const geometry = { dataShards: 4, parityShards: 2 };
  for (const bytes of [4_095, 16 * 1024 * 1024 + 1, 5_000.5])
    expect(() => checkChunkCapacity(bytes, geometry)).toThrow(/^chunk_bytes: /);
  checkChunkCapacity(16_384, geometry);
});
