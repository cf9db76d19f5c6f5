import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Mixing, type MixedPlace } from "../../core/stream/mixing.ts";

interface Vector {
  readonly weights: readonly number[];
  readonly cycle: number;
  /** Of the first positions. */
  readonly sources: readonly number[];
  readonly places: readonly (MixedPlace & { readonly position: number })[];
}

const vectors = JSON.parse(
  readFileSync(new URL("../vectors/mixing.json", import.meta.url), "utf8"),
) as readonly Vector[];

const weights = fc.array(fc.integer({ min: 1, max: 60 }), { minLength: 1, maxLength: 12 });
/** One heavy source and many light ones: where simpler orders drift. */
const uneven = fc
  .tuple(fc.integer({ min: 1, max: 5_000 }), fc.array(fc.integer({ min: 1, max: 3 }), { maxLength: 40 }))
  .map(([heavy, light]) => [heavy, ...light]);
const anyWeights = fc.oneof(weights, uneven);

test("reproduces the shared vectors", () => {
  expect(vectors.length).toBeGreaterThan(10);
  for (const vector of vectors) {
    const mixing = new Mixing(vector.weights);
    const sources = vector.sources.map((_, position) => mixing.at(position).source);
    const places = vector.places.map(({ position }) => ({ position, ...mixing.at(position) }));
    expect({ ...vector, cycle: mixing.cycle, sources, places }).toEqual(vector);
  }
});

describe("a mixture", () => {
  test("has every full cycle in exact proportion, and no prefix a whole item off", () => {
    fc.assert(
      fc.property(anyWeights, fc.nat(3), (each, cycles) => {
        const mixing = new Mixing(each);
        const sum = each.reduce((a, b) => a + b);
        const counts = each.map(() => 0);
        for (let k = cycles * mixing.cycle; k < (cycles + 1) * mixing.cycle; k++) {
          const { source } = mixing.at(k);
          counts[source] = (counts[source] as number) + 1;
          const length = k + 1 - cycles * mixing.cycle;
          for (const [i, count] of counts.entries())
            // |count − length·w/W| < 1, in whole numbers.
            if (Math.abs(count * sum - length * (each[i] as number)) >= sum)
              throw new Error(`source ${i} has ${count} of the first ${length}`);
        }
        expect(counts.map((count) => count * (sum / mixing.cycle))).toEqual(each);
      }),
    );
  });

  test("gives each source its items in order, each once, and knows where each stands", () => {
    fc.assert(
      fc.property(anyWeights, fc.integer({ min: 0, max: 2 ** 45 }), (each, start) => {
        const mixing = new Mixing(each);
        const next = each.map((_, source) => mixing.countBefore(source, start));
        expect(next.reduce((a, b) => a + b)).toBe(start);
        for (let k = start; k < start + 300; k++) {
          const { source, index } = mixing.at(k);
          if (index !== next[source]) throw new Error(`position ${k}: ${index}, not ${next[source]}`);
          if (mixing.positionOf(source, index) !== k) throw new Error(`position ${k} is not found again`);
          if (mixing.countBefore(source, k) !== index) throw new Error(`position ${k} is not counted`);
          next[source] = index + 1;
        }
      }),
    );
  });

  test("depends on the proportions alone", () => {
    fc.assert(
      fc.property(weights, fc.integer({ min: 1, max: 1_000 }), fc.nat(10_000), (each, factor, k) => {
        const scaled = each.map((weight) => weight * factor);
        expect(new Mixing(scaled).at(k)).toEqual(new Mixing(each).at(k));
      }),
    );
  });

  test.each([
    ["no weights", []],
    ["too many", Array<number>(65).fill(1)],
    ["nothing of a source", [1, 0]],
    ["a fraction", [1, 0.5]],
    ["a negative one", [1, -1]],
    ["too long a cycle", [65_536, 1]],
  ])("of %s is refused", (_, refused) => {
    expect(() => new Mixing(refused)).toThrow(/^weights: /);
  });

  test("has no place for what is no position", () => {
    const mixing = new Mixing([2, 1]);
    for (const wrong of [-1, 0.5, Number.NaN]) {
      expect(() => mixing.at(wrong)).toThrow(RangeError);
      expect(() => mixing.positionOf(0, wrong)).toThrow(RangeError);
    }
    expect(() => mixing.positionOf(2, 0)).toThrow(RangeError);
  });
});
