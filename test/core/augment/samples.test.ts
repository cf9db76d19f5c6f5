import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parseProcessing } from "../../../core/augment/processing.ts";
import { bfloat16Bits, elementTypeOf, float16Bits, sampleTable } from "../../../core/augment/samples.ts";

const parse = (...steps: unknown[]) => parseProcessing({ version: 1, steps });
const normalize = { op: "normalize", mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };

describe("what samples become", () => {
  test("the type is that of the cast; normalised without one, float32; else as it was", () => {
    expect(elementTypeOf(undefined, "uint16")).toBe("uint16");
    expect(elementTypeOf(parse({ op: "layout", order: "NCHW" }), "uint8")).toBe("uint8");
    expect(elementTypeOf(parse(normalize), "uint8")).toBe("float32");
    expect(elementTypeOf(parse(normalize, { op: "cast", dtype: "float16" }), "uint8")).toBe("float16");
    expect(sampleTable(parse({ op: "cast", dtype: "uint8" }), "uint8", 0)).toBeUndefined();
  });

  test("real numbers reach from 0 to 1, before they are normalised", () => {
    const table = sampleTable(parse({ op: "cast", dtype: "float32" }), "uint8", 0) as Float32Array;
    expect([table[0], table[51], table[255]]).toEqual([0, Math.fround(0.2), 1]);
    const wide = sampleTable(parse({ op: "cast", dtype: "float32" }), "uint16", 0) as Float32Array;
    expect([wide.length, wide[0], wide[13_107], wide[65_535]]).toEqual([65_536, 0, Math.fround(0.2), 1]);
    const green = sampleTable(parse(normalize), "uint8", 1) as Float32Array;
    expect(green[100]).toBe(Math.fround((100 / 255 - 0.456) / 0.224));
    const one = parse({ op: "normalize", mean: [0.5], std: [0.25] });
    expect(sampleTable(one, "uint8", 2)).toEqual(sampleTable(one, "uint8", 0));
  });

  test("16 bits become 8 by rounding to the nearest", () => {
    const table = sampleTable(parse({ op: "cast", dtype: "uint8" }), "uint16", 0) as Uint8Array;
    for (let v = 0; v < 65_536; v++) expect(table[v]).toBe(Math.round(v / 257));
  });
});

describe("numbers of 16 bits", () => {
  test("every float16 is itself, and what lies between goes to the nearer one, ties to even", () => {
    for (let bits = 0; bits < 0x7c00; bits++) {
      const value = fromFloat16(bits);
      expect(float16Bits(value)).toBe(bits);
      expect(float16Bits(-value)).toBe(bits | 0x8000);
      const above = bits + 1 === 0x7c00 ? 65_536 : fromFloat16(bits + 1);
      const middle = (value + above) / 2;
      expect(float16Bits(middle)).toBe(bits % 2 === 0 ? bits : bits + 1);
      expect(float16Bits(value + (above - value) * 0.4999)).toBe(bits);
      expect(float16Bits(value + (above - value) * 0.5001)).toBe(bits + 1);
    }
    expect(float16Bits(1e300)).toBe(0x7c00);
    expect(float16Bits(-1e300)).toBe(0xfc00);
  });

  test("bfloat16 is the nearest of the upper halves of float32", () => {
    const float = new DataView(new ArrayBuffer(4));
    const valueOf = (bits: number): number => {
      float.setUint32(0, bits * 65_536);
      return float.getFloat32(0);
    };
    fc.assert(
      fc.property(fc.double({ noNaN: true, noDefaultInfinity: true }), (value) => {
        const bits = bfloat16Bits(value);
        const magnitude = bits & 0x7fff;
        expect(bits >> 15).toBe(value < 0 || Object.is(value, -0) ? 1 : 0);
        if (magnitude === 0x7f80) {
          expect(Math.abs(value)).toBeGreaterThan(valueOf(0x7f7f));
          return;
        }
        const error = Math.abs(Math.abs(value) - valueOf(magnitude));
        if (magnitude > 0)
          expect(error).toBeLessThanOrEqual(Math.abs(Math.abs(value) - valueOf(magnitude - 1)));
        if (magnitude < 0x7f7f)
          expect(error).toBeLessThanOrEqual(Math.abs(Math.abs(value) - valueOf(magnitude + 1)));
      }),
      { numRuns: 2000 },
    );
    expect(bfloat16Bits(1 + 2 ** -8)).toBe(0x3f80);
    expect(bfloat16Bits(1 + 3 * 2 ** -8)).toBe(0x3f82);
    // Through float32 this would be rounded twice, to 1.
    expect(bfloat16Bits(1 + 2 ** -8 + 2 ** -40)).toBe(0x3f81);
  });
});

function fromFloat16(bits: number): number {
  const exponent = bits >> 10;
  const fraction = bits & 0x3ff;
  return exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25);
}
