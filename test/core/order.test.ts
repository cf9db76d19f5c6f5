import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { createOrder } from "../../core/stream/order.ts";
import { contentHash, itemsOf, order, type Shape } from "./orders.ts";

const SHAPES: readonly Shape[] = [
  "sequential",
  "full",
  [1, 1, 1],
  [4, 3, 2],
  [7, 16, 2],
  [50, 4, 1],
  [3000, 2, 2],
];

test.each(SHAPES.map((shape) => [String(shape), shape] as const))(
  "every N from 1 to 2,000 is a permutation: %s",
  (_, shape) => {
    const failures: string[] = [];
    const seen = new Uint16Array(2_000);
    for (let count = 1; count <= 2_000; count++) {
      const permuted = order(shape, count, BigInt(count * 31));
      for (let position = 0; position < count; position++) {
        const item = permuted.itemAt(position);
        // Marked with N itself, so that the array needs no clearing between runs.
        if (item < 0 || item >= count || seen[item] === count)
          failures.push(`N = ${count}: item ${item} at position ${position} is a repetition or out of range`);
        seen[item] = count;
      }
    }
    expect(failures).toEqual([]);
  },
);

test("a shuffle differs by seed, epoch, content hash and each block parameter", () => {
  const variants = [
    order([4, 2, 2], 500),
    order([4, 2, 2], 500, 2n),
    order([4, 2, 2], 500, 1n, 1),
    order([5, 2, 2], 500),
    order([4, 4, 2], 500),
    order([4, 2, 4], 500),
    order("full", 500),
    createOrder({ mode: "full", count: 500, contentHash: new Uint8Array(32), seed: 1n, epoch: 0 }),
  ];
  expect(new Set(variants.map((each) => itemsOf(each).join())).size).toBe(variants.length);
});

test("evaluation does not depend on what was asked before", () => {
  fc.assert(
    fc.property(fc.array(fc.nat(4_999), { maxLength: 200 }), (positions) => {
      const used = order([8, 5, 3], 5_000);
      for (const position of positions)
        expect(used.itemAt(position)).toBe(order([8, 5, 3], 5_000).itemAt(position));
    }),
    { numRuns: 20 },
  );
});

test("a seed is 64 bits, signed or not", () => {
  expect(itemsOf(order("full", 300, -1n))).toEqual(itemsOf(order("full", 300, 2n ** 64n - 1n)));
});

test("a view maps positions to its items", () => {
  const view = Uint32Array.from({ length: 400 }, (_, i) => 3 * i + 1);
  const block = { blockSize: 5, lanes: 4, blocksPerGroup: 2 };
  const base = { mode: "block", count: 400, contentHash, seed: 9n, epoch: 2, block } as const;
  expect(itemsOf(createOrder({ ...base, view }))).toEqual(
    itemsOf(createOrder(base)).map((entry) => 3 * entry + 1),
  );
});

describe("windows", () => {
  const shaped = fc.record({
    count: fc.integer({ min: 1, max: 3_000 }),
    blockSize: fc.integer({ min: 1, max: 40 }),
    lanes: fc.integer({ min: 1, max: 12 }),
    blocksPerGroup: fc.integer({ min: 1, max: 5 }),
  });

  test("tile the epoch, and hold exactly the items at their positions", () => {
    fc.assert(
      fc.property(shaped, ({ count, blockSize, lanes, blocksPerGroup }) => {
        const permuted = order([blockSize, lanes, blocksPerGroup], count);
        for (let start = 0; start < count;) {
          const window = permuted.windowAt(start);
          expect(window).toMatchObject({ start });
          const end = (window as { end: number }).end;
          expect(end).toBeGreaterThan(start);
          expect(permuted.windowAt(end - 1)).toEqual(window);
          const held = (permuted.blocksAt(start) ?? []).flatMap(({ first, count: length }) =>
            Array.from({ length }, (_, i) => first + i),
          );
          const drawn = Array.from({ length: end - start }, (_, i) => permuted.itemAt(start + i));
          expect(drawn.toSorted((a, b) => a - b)).toEqual(held.toSorted((a, b) => a - b));
          start = end;
        }
      }),
      { numRuns: 60 },
    );
  });

  test("a rank whose world size divides the lanes opens only its own blocks", () => {
    const lanes = 12;
    const permuted = order([10, lanes, 2], 2_400);
    for (const worldSize of [2, 3, 4, 6, 12]) {
      const owner = new Map<number, number>();
      for (let position = 0; position < permuted.count; position++) {
        const block = Math.floor(permuted.itemAt(position) / 10);
        const rank = position % worldSize;
        expect(owner.get(block) ?? rank).toBe(rank);
        owner.set(block, rank);
        const lane = permuted.blocksAt(position)?.find(({ first }) => first === block * 10)?.lane;
        expect(lane).toBe(position % lanes);
      }
    }
  });

  test("orders without blocks have none", () => {
    expect(order("full", 10).windowAt(3)).toBeUndefined();
    expect(order("sequential", 10).blocksAt(3)).toBeUndefined();
  });
});

describe("bad input", () => {
  const good = { mode: "full", count: 10, contentHash, seed: 0n, epoch: 0 } as const;
  const block = { blockSize: 1, lanes: 1, blocksPerGroup: 1 };
  test.each([
    ["shuffle", { mode: "random" as "full" }],
    ["shuffle", { mode: "toString" as "full" }],
    ["count", { count: -1 }],
    ["count", { count: 1.5 }],
    ["count", { count: 2 ** 32 + 1 }],
    ["count", { view: new Uint32Array(9) }],
    ["epoch", { epoch: -1 }],
    ["epoch", { epoch: Number.NaN }],
    ["content_hash", { contentHash: new Uint8Array(31) }],
    ["block_size", { mode: "block" as const }],
    ["block_size", { mode: "block" as const, block: { ...block, blockSize: 0 } }],
    ["lanes", { mode: "block" as const, block: { ...block, lanes: 1_025 } }],
    ["blocks_per_group", { mode: "block" as const, block: { ...block, blocksPerGroup: 0.5 } }],
  ])("%s is refused by name: %o", (field, change) => {
    expect(() => createOrder({ ...good, ...change })).toThrow(
      expect.objectContaining({ code: "invalid_argument", details: expect.objectContaining({ field }) }),
    );
  });

  test("a position outside the epoch", () => {
    for (const position of [-1, 10, 0.5])
      expect(() => order("full", 10).itemAt(position)).toThrow(RangeError);
    expect(() => order("full", 0).itemAt(0)).toThrow(RangeError);
  });
});
