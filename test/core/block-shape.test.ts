import fc from "fast-check";
import { expect, test } from "vitest";
import {
  checkBlockBudget,
  checkBlockShape,
  defaultBlockShape,
  defaultBlockSize,
  openBytes,
} from "../../core/stream/block-shape.ts";

const MIB = 1024 * 1024;

test.each([
  [3 * 1024, 341],
  [128 * 1024, 8],
  [MIB, 1],
  [32 * MIB, 1],
  [100, 10_486],
  [0, MIB],
])("items of %i bytes come in blocks of %i", (mean, items) => {
  expect(defaultBlockSize(mean)).toBe(items);
});

test("the defaults fit the budget, and fill it where items are small", () => {
  fc.assert(
    fc.property(fc.double({ min: 0, max: 32 * MIB, noNaN: true }), (mean) => {
      const shape = defaultBlockShape(mean);
      checkBlockBudget(shape, mean);
      const least = mean > 1 && mean < MIB ? 8 * MIB - 1 : -1;
      expect(openBytes(shape, mean)).toBeGreaterThan(least);
    }),
  );
  expect(defaultBlockShape(3 * 1024)).toEqual({ blockSize: 341, lanes: 16, blocksPerGroup: 1 });
  expect(defaultBlockShape(32 * MIB)).toEqual({ blockSize: 1, lanes: 1, blocksPerGroup: 1 });
});

test("what the caller gives stays, and the rest gives way", () => {
  expect(defaultBlockShape(3 * 1024, { lanes: 8, blockSize: 10 })).toEqual({
    blockSize: 10,
    lanes: 8,
    blocksPerGroup: 2,
  });
  expect(defaultBlockShape(MIB, { lanes: 32 })).toEqual({ blockSize: 1, lanes: 32, blocksPerGroup: 1 });
});

test("too many open bytes are refused with the field and the limit", () => {
  expect(() => checkBlockBudget({ blockSize: 3, lanes: 16, blocksPerGroup: 2 }, MIB)).toThrow(
    expect.objectContaining({
      code: "invalid_argument",
      details: { field: "block_size", bytes: 96 * MIB, limit: 16 * MIB },
    }),
  );
  expect(() => checkBlockShape({ blockSize: 2 ** 24 + 1, lanes: 1, blocksPerGroup: 1 })).toThrow(
    /^block_size: /,
  );
});
