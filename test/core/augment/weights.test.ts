import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { axisWeights, WEIGHT_ONE } from "../../../core/augment/weights.ts";
import { type Pixels, resampleExactly } from "./resample.ts";

describe("weights", () => {
  test("of each pixel sum to one, are not negative, and lie inside the input", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 700 }), fc.integer({ min: 1, max: 300 }), (input, output) => {
        const { taps, starts, weights } = axisWeights(input, output, 0, output, false);
        expect(taps % 2).toBe(0);
        for (let i = 0; i < output; i++) {
          const own = weights.subarray(i * taps, (i + 1) * taps);
          expect(own.reduce((sum, weight) => sum + weight, 0)).toBe(WEIGHT_ONE);
          expect(Math.min(...own)).toBeGreaterThanOrEqual(0);
          const last = (starts[i] as number) + own.findLastIndex((weight) => weight > 0);
          expect(starts[i]).toBeGreaterThanOrEqual(0);
          expect(last).toBeLessThan(input);
        }
      }),
    );
  });

  test("hold for the largest sides", () => {
    for (const [input, output] of [
      [65_535, 1],
      [1, 65_535],
      [65_535, 65_534],
      [65_535, 3],
    ] as const) {
      const { taps, weights } = axisWeights(input, output, output - 1, 1, false);
      expect(weights).toHaveLength(taps);
      expect(weights.reduce((sum, weight) => sum + weight, 0)).toBe(WEIGHT_ONE);
    }
  });

  test("of a window are those of its pixels, and mirrored they come last first", () => {
    const { taps, starts, weights } = axisWeights(90, 40, 0, 40, false);
    const part = axisWeights(90, 40, 11, 7, false);
    expect(part.starts).toEqual(starts.slice(11, 18));
    expect(part.weights).toEqual(weights.slice(11 * taps, 18 * taps));
    const mirrored = axisWeights(90, 40, 11, 7, true);
    expect(mirrored.starts).toEqual(part.starts.toReversed());
  });
});

/** Every output pixel as a weighted mean of the whole image in doubles: a triangle in each direction, nothing rounded. */
function naively(
  { height, width, channels, data }: Pixels,
  [toHeight, toWidth]: readonly [number, number],
): number[] {
  const triangle = (input: number, output: number, pixel: number): number[] => {
    const scale = input / output;
    const reach = Math.max(1, scale);
    const parts = Array.from({ length: input }, (_, j) =>
      Math.max(0, 1 - Math.abs(j + 0.5 - (pixel + 0.5) * scale) / reach),
    );
    const total = parts.reduce((sum, part) => sum + part, 0);
    return parts.map((part) => part / total);
  };
  const result: number[] = [];
  for (let y = 0; y < toHeight; y++) {
    const down = triangle(height, toHeight, y);
    for (let x = 0; x < toWidth; x++) {
      const across = triangle(width, toWidth, x);
      for (let c = 0; c < channels; c++) {
        let sum = 0;
        for (let j = 0; j < height; j++)
          for (let i = 0; i < width; i++)
            sum +=
              (down[j] as number) * (across[i] as number) * (data[(j * width + i) * channels + c] as number);
        result.push(sum);
      }
    }
  }
  return result;
}

test("resampling is within one level of real arithmetic, noise included", () => {
  const side = fc.integer({ min: 1, max: 24 });
  fc.assert(
    fc.property(
      side,
      side,
      side,
      side,
      fc.constantFrom(1, 3),
      fc.infiniteStream(fc.nat(255)),
      (h, w, toH, toW, channels, noise) => {
        const data = Uint8Array.from({ length: h * w * channels }, () => noise.next().value as number);
        const image = { height: h, width: w, channels, data };
        const stage = {
          crop: { top: 0, left: 0, height: h, width: w },
          size: [toH, toW],
          window: { top: 0, left: 0, height: toH, width: toW },
          mirrored: false,
        } as const;
        const exact = resampleExactly(image, stage).data;
        for (const [i, expected] of naively(image, [toH, toW]).entries())
          expect(Math.abs((exact[i] as number) - expected)).toBeLessThan(1);
      },
    ),
    { numRuns: 150 },
  );
});
