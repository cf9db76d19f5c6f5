import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parseProcessing } from "../../../core/augment/processing.ts";
import type { Processing, Size } from "../../../core/augment/steps.ts";
import { type Rectangle, sizeAfter, type Stage, stagesOf } from "../../../core/augment/stages.ts";
import { type Pixels, resampleExactly } from "./resample.ts";

const parse = (...steps: unknown[]): Processing => parseProcessing({ version: 1, steps });

const size = fc.integer({ min: 1, max: 12 });
const step = fc.oneof(
  fc.record({ op: fc.constant("resize"), size: fc.oneof(size, fc.tuple(size, size)) }),
  fc.record({ op: fc.constant("center_crop"), size: fc.integer({ min: 1, max: 3 }) }),
  fc.record({ op: fc.constant("random_resized_crop"), size: fc.tuple(size, size) }),
  fc.record({ op: fc.constant("random_horizontal_flip"), p: fc.constantFrom(0, 0.5, 1) }),
);
const key = fc.record({
  seed: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 64n - 1n }),
  epoch: fc.nat(),
  itemIndex: fc.nat(0xffffffff),
});

describe("stages", () => {
  test("give what the steps give one after the other", () => {
    fc.assert(
      fc.property(
        fc.array(step, { minLength: 1, maxLength: 6 }),
        fc.tuple(size, size),
        key,
        (steps, [h, w], draws) => {
          const processing = parse(...steps);
          const image = {
            height: h + 2,
            width: w + 2,
            channels: 1,
            data: Uint8Array.from({ length: (h + 2) * (w + 2) }, (_, i) => i * 37),
          };
          let stages: readonly Stage[];
          try {
            stages = stagesOf(processing, [image.height, image.width], draws, "item");
          } catch (error) {
            // A centre crop of what has become too small.
            expect(String(error)).toMatch(/center_crop takes/);
            return;
          }
          const alone = steps.reduce((before: Pixels, _, i) => {
            // The same number of the step, so the same draws: flips that never happen stand for the others.
            const others = steps.map((each, j) => (i === j ? each : { op: "random_horizontal_flip", p: 0 }));
            return run(stagesOf(parse(...others), [before.height, before.width], draws, "item"), before);
          }, image);
          expect(run(stages, image)).toEqual(alone);
          expect([alone.height, alone.width]).toEqual(sizeAfter(processing, [image.height, image.width]));
        },
      ),
      { numRuns: 500 },
    );
  });

  test("are one pass for what training and evaluation do", () => {
    const training = parse({ op: "random_resized_crop", size: 224 }, { op: "random_horizontal_flip", p: 1 });
    expect(stagesOf(training, [375, 500], { seed: 1n, epoch: 0, itemIndex: 0 }, "item")).toHaveLength(1);
    const evaluation = parse({ op: "resize", size: 256 }, { op: "center_crop", size: 224 });
    expect(stagesOf(evaluation, [375, 500], { seed: 1n, epoch: 0, itemIndex: 0 }, "item")).toEqual([
      {
        crop: { top: 0, left: 0, height: 375, width: 500 },
        size: [256, 341],
        window: { top: 16, left: 58, height: 224, width: 224 },
        mirrored: false,
      },
    ]);
  });

  test("a crop larger than the image is refused by the item's name", () => {
    const crop = parse({ op: "center_crop", size: [4, 5] });
    const none = { seed: 0n, epoch: 0, itemIndex: 0 };
    expect(() => stagesOf(crop, [4, 4], none, "a/b.png")).toThrow(
      "a/b.png: is 4×4 where center_crop takes 4×5; resize before it.",
    );
    const thin = parse({ op: "resize", size: 1000 });
    expect(() => stagesOf(thin, [1, 100], none, "a/b.png")).toThrow(/a\/b.png: is 1×100; .* above 65535/);
  });
});

describe("a random resized crop", () => {
  const areas = (options: object, [height, width]: Size, count: number): Rectangle[] => {
    const processing = parse({ op: "random_resized_crop", size: 10, ...options });
    return Array.from({ length: count }, (_, itemIndex) => {
      const [stage] = stagesOf(processing, [height, width], { seed: 3n, epoch: 1, itemIndex }, "item");
      return (stage as Stage).crop;
    });
  };

  test("lies inside, with area and ratio as asked for", () => {
    for (const { top, left, height, width } of areas(
      { scale: [0.2, 0.5], ratio: [0.5, 2] },
      [300, 400],
      2000,
    )) {
      expect(Math.min(top, left)).toBeGreaterThanOrEqual(0);
      expect(top + height).toBeLessThanOrEqual(300);
      expect(left + width).toBeLessThanOrEqual(400);
      const part = (height * width) / (300 * 400);
      expect(part).toBeGreaterThan(0.195);
      expect(part).toBeLessThan(0.505);
      expect(width / height).toBeGreaterThan(0.49);
      expect(width / height).toBeLessThan(2.04);
    }
  });

  test("areas are uniform, ratios in their logarithm, places over all that fit", () => {
    const all = areas({ scale: [0.1, 0.3], ratio: [1 / 3, 3] }, [1000, 1000], 20_000);
    const spread = (values: readonly number[]): void => {
      const bins = Array<number>(10).fill(0);
      for (const value of values) bins[Math.min(9, Math.floor(value * 10))]! += 1;
      // Ten bins of 2000: the standard deviation of each is 42.
      for (const bin of bins) expect(Math.abs(bin - 2000)).toBeLessThan(250);
    };
    spread(all.map(({ height, width }) => ((height * width) / 1e6 - 0.1) / 0.2));
    spread(all.map(({ height, width }) => (Math.log(width / height) + Math.log(3)) / (2 * Math.log(3))));
    spread(all.map(({ top, height }) => (top + 0.5) / (1001 - height)));
    spread(all.map(({ left, width }) => (left + 0.5) / (1001 - width)));
  });

  test("falls back to the largest centred area of an allowed ratio", () => {
    // Nothing of nearly the whole area and these ratios fits.
    expect(areas({ scale: [0.99, 1], ratio: [1, 1] }, [100, 300], 1)).toEqual([
      { top: 0, left: 100, height: 100, width: 100 },
    ]);
    expect(areas({ scale: [0.99, 1], ratio: [2, 2] }, [300, 100], 1)).toEqual([
      { top: 125, left: 0, height: 50, width: 100 },
    ]);
    expect(areas({ scale: [1, 1], ratio: [3, 4] }, [100, 1000], 1)).toEqual([
      { top: 0, left: 300, height: 100, width: 400 },
    ]);
  });
});

test("draws depend on seed, epoch, item and step, and on nothing else", () => {
  const processing = parse(
    ...[0, 1, 2].map(() => ({ op: "random_resized_crop", size: 1000, scale: [0.3, 0.3] })),
  );
  const base = { seed: 5n, epoch: 2, itemIndex: 77 };
  const crops = (draws: typeof base): string =>
    JSON.stringify(stagesOf(processing, [3000, 2000], draws, "item"));
  expect(crops({ ...base })).toBe(crops(base));
  expect(crops({ ...base, seed: 5n - 2n ** 64n })).toBe(crops(base));
  for (const other of [
    { seed: 6n },
    { seed: 5n + 2n ** 32n },
    { epoch: 3 },
    { epoch: 2 + 2 ** 32 },
    { itemIndex: 78 },
  ])
    expect(crops({ ...base, ...other })).not.toBe(crops(base));
  const [first, second, third] = stagesOf(processing, [3000, 2000], base, "item");
  expect(first?.crop).not.toEqual(second?.crop);
  expect(second?.crop).not.toEqual(third?.crop);
});

test("half of all flips happen", () => {
  const flip = parse({ op: "random_horizontal_flip" });
  const flips = Array.from({ length: 10_000 }, (_, itemIndex) =>
    Number(stagesOf(flip, [2, 2], { seed: 0n, epoch: 0, itemIndex }, "item")[0]?.mirrored),
  );
  expect(Math.abs(flips.reduce((sum, flipped) => sum + flipped, 0) - 5000)).toBeLessThan(250);
});

function run(stages: readonly Stage[], image: Pixels): Pixels {
  return stages.reduce((before, stage) => resampleExactly(before, stage), image);
}
