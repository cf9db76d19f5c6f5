import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  batchPositions,
  type BatchPlan,
  checkBatchPlan,
  checkStartIndex,
  positionAfter,
  type TailPolicy,
  totalBatches,
} from "../../core/stream/batches.ts";

const shape = fc
  .record({
    count: fc.integer({ min: 1, max: 600 }),
    batchSize: fc.integer({ min: 1, max: 40 }),
    worldSize: fc.integer({ min: 1, max: 9 }),
    startAt: fc.double({ min: 0, max: 1, noNaN: true }),
    tail: fc.constantFrom<TailPolicy>("short", "drop_last", "pad"),
  })
  .map(({ startAt, ...rest }) => ({ ...rest, start: Math.floor(startAt * rest.count) }));

type Shape = Omit<BatchPlan, "rank">;

/** What each rank is sent, batch by batch. */
function batchesOf(plan: BatchPlan): { positions: number[]; padded: number }[] {
  checkBatchPlan(plan);
  return Array.from({ length: totalBatches(plan) }, (_, index) => batchPositions(plan, index));
}

function ranksOf(of: Shape): { positions: number[]; padded: number }[][] {
  return Array.from({ length: of.worldSize }, (_, rank) => batchesOf({ ...of, rank }));
}

function range(from: number, to: number): number[] {
  return Array.from({ length: Math.max(0, to - from) }, (_, i) => from + i);
}

test("ranks partition the epoch from the start on, each position exactly once", () => {
  fc.assert(
    fc.property(shape, (of) => {
      const ranks = ranksOf(of);
      const sent = ranks
        .flat()
        .flatMap(({ positions, padded }) => positions.slice(0, positions.length - padded));
      const perGlobalBatch = of.batchSize * of.worldSize;
      const end = of.tail === "drop_last" ? of.count - ((of.count - of.start) % perGlobalBatch) : of.count;
      expect(sent.toSorted((a, b) => a - b)).toEqual(range(of.start, end));
    }),
    { numRuns: 500 },
  );
});

test("global batch g is start + g·b·w and so on; rank r has every w-th of it", () => {
  fc.assert(
    fc.property(shape, (of) => {
      ranksOf(of).forEach((batches, rank) =>
        batches.forEach(({ positions, padded }, index) => {
          const first = of.start + index * of.batchSize * of.worldSize;
          positions.slice(0, positions.length - padded).forEach((position, i) => {
            expect(position).toBe(first + rank + i * of.worldSize);
            expect(position).toBeLessThan(first + of.batchSize * of.worldSize);
          });
        }),
      );
    }),
  );
});

test("with drop_last and pad all ranks have the same number of full batches", () => {
  fc.assert(
    fc.property(shape, (of) => {
      fc.pre(of.tail !== "short");
      const ranks = ranksOf(of);
      expect(new Set(ranks.map((batches) => batches.length)).size).toBe(1);
      for (const { positions } of ranks.flat()) expect(positions).toHaveLength(of.batchSize);
      const padded = ranks.flat().reduce((sum, batch) => sum + batch.padded, 0);
      const missing = (of.count - of.start) % (of.batchSize * of.worldSize);
      const expected = of.tail === "pad" && missing > 0 ? of.batchSize * of.worldSize - missing : 0;
      expect(padded).toBe(expected);
    }),
  );
});

test("short: no batch is empty, only the last is short, and ranks differ by one item at most", () => {
  fc.assert(
    fc.property(shape, (of) => {
      const ranks = ranksOf({ ...of, tail: "short" });
      const items = ranks.map((batches) => batches.flatMap(({ positions }) => positions).length);
      expect(Math.max(...items) - Math.min(...items)).toBeLessThanOrEqual(1);
      for (const batches of ranks)
        batches.forEach(({ positions, padded }, index) => {
          expect(padded).toBe(0);
          expect(positions.length).toBeGreaterThanOrEqual(index + 1 < batches.length ? of.batchSize : 1);
        });
    }),
  );
});

test("pad: the repetitions are items of the epoch, in the last batch, and wrap around", () => {
  expect(batchesOf({ count: 5, batchSize: 4, worldSize: 2, rank: 1, start: 0, tail: "pad" })).toEqual([
    { positions: [1, 3, 0, 2], padded: 2 },
  ]);
  expect(batchesOf({ count: 1, batchSize: 3, worldSize: 1, rank: 0, start: 0, tail: "pad" })).toEqual([
    { positions: [0, 0, 0], padded: 2 },
  ]);
  fc.assert(
    fc.property(shape, (of) => {
      for (const batches of ranksOf({ ...of, tail: "pad" })) {
        for (const { positions } of batches)
          for (const position of positions) expect(position).toBeLessThan(of.count);
        expect(batches.slice(0, -1).filter(({ padded }) => padded > 0)).toEqual([]);
      }
    }),
  );
});

test("a plan that starts after batch g goes on exactly there", () => {
  fc.assert(
    fc.property(shape, fc.nat(20), (of, cut) => {
      for (let rank = 0; rank < of.worldSize; rank++) {
        const plan = { ...of, rank };
        const all = batchesOf(plan);
        if (cut >= all.length) continue;
        const rest = { ...plan, start: positionAfter(plan, cut) };
        // The items that drop_last leaves over stay left over.
        expect(batchesOf(rest)).toEqual(all.slice(cut + 1));
      }
    }),
  );
});

test("another world size goes on after a global batch with nothing lost and nothing twice", () => {
  fc.assert(
    fc.property(shape, fc.nat(5), fc.integer({ min: 1, max: 9 }), (of, cut, worldSize) => {
      const before = { ...of, tail: "short" as const };
      const barrier = positionAfter({ ...before, rank: 0 }, cut);
      const done = ranksOf(before).flatMap((batches) => batches.slice(0, cut + 1));
      const left = ranksOf({ ...before, worldSize, start: barrier }).flat();
      const sent = [...done, ...left].flatMap(({ positions }) => positions);
      expect(sent.toSorted((a, b) => a - b)).toEqual(range(of.start, of.count));
    }),
  );
});

test("counts near 2^32 stay exact", () => {
  const plan = { count: 2 ** 32, batchSize: 7, worldSize: 3, rank: 2, start: 5, tail: "short" } as const;
  const items = Math.floor((2 ** 32 - 5 - 2 + 2) / 3);
  expect(totalBatches(plan)).toBe(Math.ceil(items / 7));
  const last = batchPositions(plan, totalBatches(plan) - 1).positions;
  expect(last.at(-1)).toBe(5 + 2 + 3 * (items - 1));
});

describe("bad input", () => {
  const good: BatchPlan = { count: 100, batchSize: 8, worldSize: 4, rank: 3, start: 0, tail: "short" };
  test.each<[string, Partial<BatchPlan>, number | undefined]>([
    ["batch_size", { batchSize: 0 }, 65_536],
    ["batch_size", { batchSize: -1 }, 65_536],
    ["batch_size", { batchSize: 65_537 }, 65_536],
    ["batch_size", { batchSize: 1.5 }, 65_536],
    ["world_size", { worldSize: 0, rank: 0 }, 65_536],
    ["world_size", { worldSize: 65_537 }, 65_536],
    ["rank", { rank: 4 }, 3],
    ["rank", { rank: -1 }, 3],
    ["start_index", { start: 101 }, 100],
    ["start_index", { start: -1 }, 100],
    ["start_index", { start: Number.NaN }, 100],
    ["tail", { tail: "wrap" as TailPolicy }, undefined],
  ])("%s is refused with its limit: %o", (field, change, limit) => {
    expect(() => checkBatchPlan({ ...good, ...change })).toThrow(
      expect.objectContaining({
        code: "invalid_argument",
        message: expect.stringMatching(new RegExp(`^${field}: `)),
        details: limit === undefined ? { field } : { field, limit },
      }),
    );
  });

  test("a requested start must be a position; what is left after the last batch is a plan of none", () => {
    checkStartIndex(99, 100);
    expect(() => checkStartIndex(100, 100)).toThrow(/^start_index: 100 is past the end: there are 100 items/);
    expect(() => checkStartIndex(-1, 100)).toThrow(/^start_index: /);
    expect(() => checkStartIndex(0, 0)).toThrow(/no items/);
    checkBatchPlan({ ...good, start: 100 });
    expect(totalBatches({ ...good, start: 100 })).toBe(0);
    expect(() => batchPositions(good, 4)).toThrow(RangeError);
  });
});
