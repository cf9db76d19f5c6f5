import { expect, test } from "vitest";
import { order, type Shape } from "./orders.ts";

const SEEDS = 1_000;

/**
 * Pearson's chi-square of counts against equal expectations, as a deviation from its mean in units of its
 * standard deviation. For a fair shuffle it is close to normal with mean 0 and deviation 1; the seeds are fixed, so
 * the tests below give the same value on every run, and 4 would be met by chance once in 30,000 tables.
 */
function deviation(counts: readonly number[], freedom: number): number {
  const expected = counts.reduce((sum, each) => sum + each, 0) / counts.length;
  const chiSquare = counts.reduce((sum, each) => sum + (each - expected) ** 2 / expected, 0);
  return (chiSquare - freedom) / Math.sqrt(2 * freedom);
}

const WHOLE_TABLES: readonly (readonly [Shape, number])[] = [
  ["full", 2],
  ["full", 3],
  ["full", 5],
  ["full", 16],
  ["full", 17],
  ["full", 63],
  ["full", 100],
  [[4, 3, 2], 96],
  // Four full groups and a tail of whole blocks.
  [[4, 2, 2], 76],
  [[1, 8, 2], 48],
];

test.each(WHOLE_TABLES)("items × positions over 1,000 seeds: %s, N = %i", (shape, count) => {
  const counts = Array.from({ length: count * count }, () => 0);
  for (let seed = 0; seed < SEEDS; seed++) {
    const permuted = order(shape, count, BigInt(seed), seed % 3);
    for (let position = 0; position < count; position++) {
      const cell = position * count + permuted.itemAt(position);
      counts[cell] = (counts[cell] as number) + 1;
    }
  }
  expect(Math.abs(deviation(counts, (count - 1) ** 2))).toBeLessThan(4);
});

test.each([
  ["full", 1_797],
  ["full", 65_536],
  ["full", 2 ** 32],
  [[8, 4, 2], 1_792],
  [[32, 64, 8], 2 ** 26],
] as const)("items in 16 bins at 16 positions over 1,000 seeds: %s, N = %i", (shape, count) => {
  // One position from each sixteenth: two from one window of a block shuffle would depend on each other.
  const bins = 16;
  const binOf = (item: number): number => Math.floor((item * bins) / count);
  const counts = Array.from({ length: bins * bins }, () => 0);
  for (let seed = 0; seed < SEEDS; seed++) {
    const permuted = order(shape, count, BigInt(seed) * 0x9e3779b97f4a7c15n);
    for (let row = 0; row < bins; row++) {
      const cell = row * bins + binOf(permuted.itemAt(Math.floor(((row + 0.5) * count) / bins)));
      counts[cell] = (counts[cell] as number) + 1;
    }
  }
  expect(Math.abs(deviation(counts, bins * (bins - 1)))).toBeLessThan(4);
});

test("neighbouring positions are independent: ordered pairs of items over 1,000 seeds", () => {
  const count = 9;
  const counts = Array.from({ length: count * count }, () => 0);
  for (let seed = 0; seed < SEEDS; seed++) {
    const permuted = order("full", count, BigInt(seed));
    for (let position = 0; position + 1 < count; position += 2) {
      const cell = permuted.itemAt(position) * count + permuted.itemAt(position + 1);
      counts[cell] = (counts[cell] as number) + 1;
    }
  }
  const pairs = counts.filter((_, cell) => Math.floor(cell / count) !== cell % count);
  expect(counts.reduce((sum, each) => sum + each, 0)).toBe(SEEDS * 4);
  expect(Math.abs(deviation(pairs, pairs.length - 1))).toBeLessThan(4);
});
