import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { decode, decodeAll } from "./decoding.ts";

const SCHEMA = { type: "tensor", format: "npy" };

interface NpyOptions {
  readonly version?: 1 | 2 | 3;
  readonly shape?: string;
  readonly fortran?: boolean;
  readonly descr?: string;
}

/** As NumPy writes it: a Python dictionary, padded with spaces to 64 bytes and ended by a line feed. */
function npy(
  data: Uint8Array,
  { version = 1, shape = "(2, 3)", fortran = false, descr = "<f4" }: NpyOptions = {},
): Uint8Array {
  const start = version === 1 ? 10 : 12;
  const text = `{'descr': '${descr}', 'fortran_order': ${fortran ? "True" : "False"}, 'shape': ${shape}, }`;
  const length = Math.ceil((start + text.length + 1) / 64) * 64 - start;
  const header = Buffer.alloc(start + length, " ");
  header.write("\x93NUMPY", "latin1");
  header[6] = version;
  header[7] = 0;
  if (version === 1) header.writeUInt16LE(length, 8);
  else header.writeUInt32LE(length, 8);
  header.write(text, start, "latin1");
  header[start + length - 1] = 10;
  return new Uint8Array(Buffer.concat([header, data]));
}

const values = Float32Array.of(1.5, -2, 3, 4, 5, 6.25);
const bytes = new Uint8Array(values.buffer);

describe("npy arrays", () => {
  test.each([1, 2, 3] as const)("format %s.0", (version) => {
    const { format, data } = decode(SCHEMA, npy(bytes, { version }));
    expect(format).toMatchObject({
      kind: "tensor",
      shape: [2, 3],
      dtype: "float32",
      layout: "N…",
      itemBytes: 24,
    });
    expect(new Float32Array(data.buffer)).toEqual(values);
  });

  test("the first index fastest", () => {
    const stored = Float32Array.of(1.5, 4, -2, 5, 3, 6.25);
    const { data } = decode(SCHEMA, npy(new Uint8Array(stored.buffer), { fortran: true }));
    expect(new Float32Array(data.buffer)).toEqual(values);
  });

  test("three dimensions, the first index fastest, of any size of element", () => {
    for (const [descr, size] of [
      ["|u1", 1],
      ["<i2", 2],
      ["<f4", 4],
      ["<i8", 8],
    ] as const) {
      const [a, b, c] = [2, 3, 4];
      const element = (i: number, j: number, k: number) => (i * b + j) * c + k;
      const stored = new Uint8Array(a * b * c * size);
      const expected = new Uint8Array(a * b * c * size);
      for (let i = 0; i < a; i++)
        for (let j = 0; j < b; j++)
          for (let k = 0; k < c; k++) {
            stored[(i + a * (j + b * k)) * size] = element(i, j, k);
            expected[element(i, j, k) * size] = element(i, j, k);
          }
      expect(decode(SCHEMA, npy(stored, { descr, fortran: true, shape: "(2, 3, 4)" })).data).toEqual(
        expected,
      );
    }
  });

  test.each([
    [">f4", "float32", 4],
    [">i8", "int64", 8],
    [">u2", "uint16", 2],
  ])("big-endian %s", (descr, dtype, size) => {
    const stored = Uint8Array.from({ length: 6 * size }, (_, i) => i);
    const { format, data } = decode(SCHEMA, npy(stored, { descr }));
    expect(format.dtype).toBe(dtype);
    const expected = [0, 1, 2, 3, 4, 5].flatMap((i) =>
      [...stored.subarray(i * size, (i + 1) * size)].toReversed(),
    );
    expect([...data]).toEqual(expected);
  });

  test.each([
    ["|b1", "bool", 1],
    ["|i1", "int8", 1],
    ["<u4", "uint32", 4],
    ["=f2", "float16", 2],
    ["<V2", "bfloat16", 2],
    ["<f8", "float64", 8],
  ])("%s is %s", (descr, dtype, size) => {
    const decoded = decode(SCHEMA, npy(new Uint8Array(6 * size), { descr }));
    expect(decoded.format).toMatchObject({ dtype, itemBytes: 6 * size });
  });

  test("shapes of one and no dimension", () => {
    expect(decode(SCHEMA, npy(bytes, { shape: "(6,)" })).format.shape).toEqual([6]);
    expect(decode(SCHEMA, npy(bytes.slice(0, 4), { shape: "()" })).format.shape).toEqual([]);
  });

  test.each([
    ["records", { descr: "<O8" }, /elements that no tensor has/],
    ["complex numbers", { descr: "<c8" }, /elements that no tensor has/],
    ["nothing", { shape: "(0, 3)" }, /no elements/],
    ["too little", { shape: "(7,)" }, /has 24 bytes of elements; shape 7 of float32 takes 28/],
    ["too much", { shape: "(5,)" }, /has 24 bytes of elements/],
    ["nine dimensions", { shape: "(1, 1, 1, 1, 1, 1, 1, 1, 6)" }, /9 dimensions; 8 are allowed/],
    ["no shape", { shape: "None" }, /does not tell shape/],
    ["a negative side", { shape: "(-6,)" }, /does not tell shape/],
  ])("%s is refused by path", (_, options, message) => {
    expect(() => decode(SCHEMA, npy(bytes, options))).toThrow(message);
    expect(() => decode(SCHEMA, npy(bytes, options))).toThrow(/^folder\/item: /);
  });

  test("another shape or type than the first, or than the schema says, is refused", () => {
    const items = (second: Uint8Array) =>
      [npy(bytes), second].map((item, i) => ({ path: `${i}`, bytes: item }));
    expect(() => decodeAll(SCHEMA, items(npy(bytes, { shape: "(3, 2)" })))).toThrow(
      /^1: is 3×2 of float32; this batch holds 2×3 of float32/,
    );
    expect(() => decodeAll(SCHEMA, items(npy(bytes, { descr: "<i4" })))).toThrow(/^1: is 2×3 of int32/);
    expect(() => decode({ ...SCHEMA, shape: [6] }, npy(bytes))).toThrow(/this batch holds 6 of float32/);
  });

  test("whatever is cut off or changed, an error names the path, or as many bytes come out", () => {
    const good = npy(bytes);
    const change = fc.record({ at: fc.nat(good.length - 1), to: fc.nat(255) });
    fc.assert(
      fc.property(fc.array(change, { maxLength: 3 }), fc.nat(good.length), (changes, cut) => {
        const input = good.slice(0, cut);
        for (const { at, to } of changes) if (at < cut) input[at] = to;
        let length: number | undefined;
        try {
          const { data, format } = decode(SCHEMA, input);
          length = data.length - format.itemBytes;
        } catch (error) {
          expect(String(error)).toMatch(/^DataStreamError: folder\/item: /);
        }
        expect(length ?? 0).toBe(0);
      }),
      { numRuns: 500 },
    );
  });

  test("as images they are processed like others", () => {
    const pixels = Uint8Array.from({ length: 4 * 6 * 3 }, (_, i) => i);
    const image = npy(pixels, { descr: "|u1", shape: "(4, 6, 3)" });
    const flip = { version: 1, steps: [{ op: "random_horizontal_flip", p: 1 }] };
    const { format, data } = decode({ type: "image", format: "npy" }, image, flip);
    expect(format).toMatchObject({ shape: [4, 6, 3], layout: "NHWC" });
    expect([...data.subarray(0, 3)]).toEqual([15, 16, 17]);
    const floats = npy(bytes);
    expect(() => decode({ type: "image", format: "npy" }, floats, flip)).toThrow(/is float32; images have/);
    const volume = npy(pixels, { descr: "|u1", shape: "(2, 2, 6, 3)" });
    expect(() => decode({ type: "image", format: "npy" }, volume, flip)).toThrow(/has shape 2×2×6×3/);
  });
});

describe("raw tensors and bytes", () => {
  test("raw items are what they are, of exactly their length", () => {
    const schema = { type: "tensor", format: "raw", shape: [2, 3], dtype: "float32" };
    expect(decode(schema, bytes).data).toEqual(bytes);
    for (const length of [0, 23])
      expect(() => decode(schema, bytes.slice(0, length))).toThrow(
        `folder/item: has ${length} bytes; shape 2×3 of float32 takes 24.`,
      );
  });

  test.each(["txt", "json", "flac", "tar", "jpeg2000"])("%s stays bytes", (format) => {
    const decoded = decode({ type: "bytes", format }, bytes);
    expect(decoded.format).toEqual({
      kind: "bytes",
      dtype: "uint8",
      shape: [],
      layout: "N…",
      itemBytes: 0,
      source: undefined,
    });
    expect(decoded.data).toEqual(bytes);
  });

  test("what is no image cannot be processed", () => {
    const resize = { version: 1, steps: [{ op: "resize", size: 4 }] };
    expect(() => decode({ type: "text", format: "txt" }, bytes, resize)).toThrow(
      /processing: works on images/,
    );
    expect(() => decode(SCHEMA, npy(bytes), resize)).toThrow(/items of type tensor and format npy/);
  });
});
