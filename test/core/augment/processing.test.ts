import { blake3 as noble } from "@noble/hashes/blake3.js";
import { describe, expect, test } from "vitest";
import { toHex } from "../../../core/bytes.ts";
import { PROCESSING_CONTEXT, parseProcessing, processingHash } from "../../../core/augment/processing.ts";
import { canonicalJson } from "../../../core/canonical-json.ts";
import { utf8 } from "../../../core/text.ts";
import { blake3 } from "../blake3.ts";

const parse = (...steps: unknown[]) => parseProcessing({ version: 1, steps });

describe("a processing", () => {
  test("gets its defaults, and one number for a crop is a square", () => {
    expect(parse({ op: "random_resized_crop", size: 224 }, { op: "random_horizontal_flip" }).steps).toEqual([
      { op: "random_resized_crop", size: [224, 224], scale: [0.08, 1], ratio: [3 / 4, 4 / 3] },
      { op: "random_horizontal_flip", p: 0.5 },
    ]);
    expect(parse({ op: "resize", size: 256 }, { op: "center_crop", size: [3, 4] }).steps).toEqual([
      { op: "resize", size: 256 },
      { op: "center_crop", size: [3, 4] },
    ]);
  });

  test("is taken as JSON text as well", () => {
    expect(parseProcessing('{"version":1,"steps":[{"op":"resize","size":[2,3]}]}')).toEqual(
      parse({ op: "resize", size: [2, 3] }),
    );
    expect(() => parseProcessing("{")).toThrow("processing: is not JSON.");
  });

  test.each([
    ["another version", { version: 2, steps: [] }, /^processing.version: must be 1\.$/],
    ["no steps", { version: 1, steps: [] }, /^processing.steps: must have at least 1 entry\.$/],
    [
      "a key that nobody knows",
      { version: 1, steps: [{ op: "resize", size: 3 }], more: 1 },
      /^processing.more: is no known field/,
    ],
    [
      "seventeen steps",
      { version: 1, steps: Array.from({ length: 17 }, () => ({ op: "resize", size: 4 })) },
      /^processing.steps: must have at most 16 entries\.$/,
    ],
  ])("%s is refused", (_, input, message) => {
    expect(() => parseProcessing(input)).toThrow(message);
  });

  test.each([
    [
      "another step",
      { op: "rotate" },
      /^processing.steps.0.op: must be one of "resize", "center_crop", .*, "layout"\.$/,
    ],
    ["a step without its name", { size: 3 }, /^processing.steps.0.op: must be one of "resize", /],
    ["a name alone", "resize", /^processing.steps.0: must be a JSON object\.$/],
    ["a misspelt option", { op: "resize", sise: 3 }, /^processing.steps.0/],
    [
      "an option too many",
      { op: "resize", size: 3, antialias: false },
      /^processing.steps.0.antialias: is no known field/,
    ],
    ["no pixels", { op: "resize", size: 0 }, /^processing.steps.0.size: must be at least 1\.$/],
    [
      "half a pixel",
      { op: "center_crop", size: [2, 2.5] },
      /^processing.steps.0.size.1: must be a whole number\.$/,
    ],
    ["too many pixels", { op: "random_resized_crop", size: 8193 }, /^processing.steps.0.size: .*8192/],
    [
      "a scale above 1",
      { op: "random_resized_crop", size: 4, scale: [0.5, 1.5] },
      /^processing.steps.0.scale: must not be above 1\.$/,
    ],
    ["a scale of 0", { op: "random_resized_crop", size: 4, scale: [0, 1] }, /^processing.steps.0.scale.0: /],
    [
      "a ratio upside down",
      { op: "random_resized_crop", size: 4, ratio: [2, 1] },
      /^processing.steps.0.ratio: must be \[least, greatest\]\.$/,
    ],
    ["a probability of 2", { op: "random_horizontal_flip", p: 2 }, /^processing.steps.0.p: /],
    ["a deviation of 0", { op: "normalize", mean: [0], std: [0] }, /^processing.steps.0.std.0: /],
    [
      "fewer deviations",
      { op: "normalize", mean: [0, 0], std: [1] },
      /^processing.steps.0.std: must be as many/,
    ],
    ["an infinite mean", { op: "normalize", mean: [Infinity], std: [1] }, /^processing.steps.0.mean.0: /],
    ["a cast to int64", { op: "cast", dtype: "int64" }, /^processing.steps.0.dtype: /],
    ["another order", { op: "layout", order: "CHW" }, /^processing.steps.0.order: /],
  ])("%s is refused by its field", (_, step, message) => {
    expect(() => parse(step)).toThrow(message);
    expect(() => parse(step)).toThrow(expect.objectContaining({ code: "invalid_argument" }) as Error);
  });

  test("pixels move before samples change, and those change once", () => {
    const cast = { op: "cast", dtype: "float32" };
    expect(() => parse(cast, { op: "resize", size: 4 })).toThrow(
      "processing.steps.1: is resize, which must stand before cast.",
    );
    expect(() => parse(cast, cast)).toThrow("processing.steps.1: is a second cast; one is allowed.");
    const normalize = { op: "normalize", mean: [0.5], std: [0.5] };
    for (const steps of [
      [normalize, { op: "cast", dtype: "uint8" }],
      [{ op: "cast", dtype: "uint8" }, normalize],
    ])
      expect(() => parse(...steps)).toThrow(/dtype: is uint8; normalized values need/);
  });
});

describe("the hash of a processing", () => {
  const written = { version: 1, steps: [{ op: "random_resized_crop", size: 224 }] };
  const complete = parseProcessing(written);

  test("is over its canonical form with the defaults", () => {
    const text =
      '{"steps":[{"op":"random_resized_crop","ratio":[0.75,1.3333333333333333],"scale":[0.08,1],"size":[224,224]}],"version":1}';
    expect(canonicalJson(complete)).toBe(text);
    expect(processingHash(complete, blake3)).toEqual(
      noble(utf8(text), { context: utf8(PROCESSING_CONTEXT) }),
    );
  });

  test("stays what it is", () => {
    expect(toHex(processingHash(complete, blake3))).toBe(
      "7d71a1d51eee6aec5c6c4009b0629091c631556c4127a2055ed315a7e0c92606",
    );
    expect(processingHash(parseProcessing(complete), blake3)).toEqual(processingHash(complete, blake3));
  });

  test("differs with every option", () => {
    const steps = [
      [{ op: "resize", size: 4 }],
      [{ op: "resize", size: [4, 4] }],
      [{ op: "center_crop", size: 4 }],
      [{ op: "random_resized_crop", size: 4 }],
      [{ op: "random_resized_crop", size: 4, scale: [0.1, 1] }],
      [{ op: "random_horizontal_flip" }],
      [{ op: "random_horizontal_flip", p: 0.25 }],
      [{ op: "random_horizontal_flip" }, { op: "random_horizontal_flip" }],
    ];
    const hashes = steps.map((list) => toHex(processingHash(parse(...list), blake3)));
    expect(new Set(hashes).size).toBe(steps.length);
  });
});
