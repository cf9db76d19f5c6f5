import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { shardSize } from "../../core/erasure/geometry.ts";
import { layoutPack } from "../../core/erasure/pack-layout.ts";
import { type PlanItem, planReads, type ReadPlan } from "../../core/stream/read-plan.ts";

interface Chunk {
  readonly id: string;
  readonly shardLength: number;
  /** All data shards one after the other. */
  readonly data: Uint8Array;
}

interface Stored {
  readonly items: readonly PlanItem<Chunk>[];
  readonly contents: readonly Uint8Array[];
}

/** Items laid out in packs and cut into simulated shards, each item with bytes of its own. */
function store(sizes: readonly number[], capacity: number, dataShards: number): Stored {
  const { chunks, extents } = layoutPack(sizes, capacity, dataShards);
  const stored = chunks.map((chunk, i) => ({
    id: `chunk-${i}`,
    shardLength: chunk.shardSize,
    data: new Uint8Array(chunk.shardSize * dataShards),
  }));
  const contents = sizes.map((size, item) =>
    Uint8Array.from({ length: size }, (_, i) => (item * 59 + i * 7 + 1) % 256),
  );
  const items = extents.map((parts, item) => ({
    extents: parts.map(({ chunk, ...extent }) => {
      const { objectOffset, chunkOffset, length } = extent;
      const bytes = (contents[item] as Uint8Array).subarray(objectOffset, objectOffset + length);
      (stored[chunk] as Chunk).data.set(bytes, chunkOffset);
      return { ...extent, chunk: stored[chunk] as Chunk };
    }),
  }));
  return { items, contents };
}

/** Carries a plan out: what each item's pieces bring together. */
function assemble(plan: ReadPlan<Chunk>, sizes: readonly number[]): Uint8Array[] {
  const buffers = plan.reads.map(({ chunk, shardIndex, offset, length }) => {
    expect(offset + length).toBeLessThanOrEqual(chunk.shardLength);
    const start = shardIndex * chunk.shardLength + offset;
    return chunk.data.subarray(start, start + length);
  });
  return plan.pieces.map((pieces, i) => {
    const item = new Uint8Array(sizes[i] as number);
    let done = 0;
    for (const { read, readOffset, itemOffset, length } of pieces) {
      expect(itemOffset).toBe(done);
      const bytes = (buffers[read] as Uint8Array).subarray(readOffset, readOffset + length);
      expect(bytes).toHaveLength(length);
      item.set(bytes, itemOffset);
      done += length;
    }
    expect(done).toBe(item.length);
    return item;
  });
}

const stores = fc.record({
  sizes: fc.array(fc.oneof(fc.nat(200), fc.nat(3_000), fc.nat(20_000)), { minLength: 1, maxLength: 40 }),
  capacity: fc.constantFrom(4_096, 16_384),
  dataShards: fc.integer({ min: 1, max: 6 }),
  wanted: fc.array(fc.nat(), { maxLength: 40 }),
  mergeGapBytes: fc.constantFrom(0, 1, 100, 2_000),
  targetBytes: fc.constantFrom(100, 1_000, 100_000),
});

test("pieces reassemble every item byte for byte, whatever is asked for in whatever order", () => {
  fc.assert(
    fc.property(stores, ({ sizes, capacity, dataShards, wanted, ...options }) => {
      const { items, contents } = store(sizes, capacity, dataShards);
      // Any order, with repetitions, as padding makes them.
      const chosen = wanted.map((each) => each % sizes.length);
      const plan = planReads(
        chosen.map((item) => items[item] as PlanItem<Chunk>),
        options,
      );
      const assembled = assemble(
        plan,
        chosen.map((item) => sizes[item] as number),
      );
      const wrong = chosen.filter(
        (item, i) => Buffer.compare(assembled[i] as Uint8Array, contents[item] as Uint8Array) !== 0,
      );
      expect(wrong).toEqual([]);
    }),
    { numRuns: 200 },
  );
});

test("reads are bounded, needed, waste gaps only, and come in the order of first need", () => {
  fc.assert(
    fc.property(stores, ({ sizes, capacity, dataShards, mergeGapBytes, targetBytes }) => {
      const { items } = store(sizes, capacity, dataShards);
      const { reads, pieces } = planReads(items, { mergeGapBytes, targetBytes });
      const firstNeed = reads.map(() => Number.POSITIVE_INFINITY);
      const covered = reads.map(({ length }) => new Uint8Array(length));
      pieces.flat().forEach((piece, order) => {
        firstNeed[piece.read] = Math.min(firstNeed[piece.read] as number, order);
        (covered[piece.read] as Uint8Array).fill(1, piece.readOffset, piece.readOffset + piece.length);
      });
      expect(firstNeed).toEqual(firstNeed.toSorted((a, b) => a - b));
      reads.forEach(({ length }, i) => {
        expect(length).toBeLessThanOrEqual(Math.ceil(1.5 * targetBytes));
        const bytes = covered[i] as Uint8Array;
        expect(bytes[0]).toBe(1);
        expect(bytes.at(-1)).toBe(1);
        const gaps = bytes.join("").match(/0+/g) ?? [];
        for (const gap of gaps) expect(gap.length).toBeLessThanOrEqual(mergeGapBytes);
      });
    }),
  );
});

describe("by example", () => {
  const chunk = { id: "a", shardLength: 4_000_000 };
  const at = (chunkOffset: number, length: number): PlanItem => ({
    extents: [{ chunk, chunkOffset, objectOffset: 0, length }],
  });

  test("neighbours become reads of about 1 MiB", () => {
    const items = Array.from({ length: 3_000 }, (_, i) => at(i * 1_000, 1_000));
    const { reads } = planReads(items);
    expect(reads.map(({ length }) => length)).toEqual([1_049_000, 1_049_000, 902_000]);
  });

  test("a gap of 64 KiB is read over, a larger one is not", () => {
    expect(planReads([at(0, 10), at(10 + 65_536, 10)]).reads).toHaveLength(1);
    expect(planReads([at(0, 10), at(11 + 65_536, 10)]).reads).toHaveLength(2);
  });

  test("a large item is cut at shards and into parts that can be fetched side by side", () => {
    const { reads } = planReads([at(0, 16_000_000)]);
    expect(reads.every(({ length }) => length === 1_000_000)).toBe(true);
    expect(reads.map(({ shardIndex }) => shardIndex)).toEqual([0, 1, 2, 3].flatMap((i) => [i, i, i, i]));
  });

  test("an item that comes twice is read once; an empty one not at all", () => {
    const plan = planReads([at(500, 100), { extents: [] }, at(500, 100)]);
    expect(plan.reads).toEqual([{ chunk, shardIndex: 0, offset: 500, length: 100 }]);
    expect(plan.pieces).toEqual([
      [{ read: 0, readOffset: 0, itemOffset: 0, length: 100 }],
      [],
      [{ read: 0, readOffset: 0, itemOffset: 0, length: 100 }],
    ]);
  });

  test("the same shard of another chunk is another read", () => {
    const other = {
      extents: [{ chunk: { ...chunk, id: "b" }, chunkOffset: 10, objectOffset: 0, length: 10 }],
    };
    expect(planReads([at(0, 10), other]).reads).toHaveLength(2);
  });
});

test("shards are the least multiple of 64 that holds the chunk", () => {
  fc.assert(
    fc.property(fc.nat(20_000_000), fc.integer({ min: 1, max: 21 }), (length, dataShards) => {
      const size = shardSize(length, dataShards);
      expect(size % 64).toBe(0);
      expect(size * dataShards).toBeGreaterThanOrEqual(length);
      expect(size === 64 || (size - 64) * dataShards < length).toBe(true);
    }),
  );
});
