import { readFileSync } from "node:fs";
import jpegTurbo from "@julusian/jpeg-turbo";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { decode, decodeAll } from "./decoding.ts";

const SCHEMA = { type: "image", format: "jpg" };
const RESIZED = { version: 1, steps: [{ op: "resize", size: [5, 7] }] };

/** A smooth image, so that compression changes little. */
function smooth(height: number, width: number): Uint8Array {
  return Uint8Array.from({ length: height * width * 3 }, (_, i) => {
    const [y, x, c] = [Math.floor(i / 3 / width), Math.floor(i / 3) % width, i % 3];
    return 40 + ((x * 3 + y * 2 + c * 30) % 400 > 200 ? 180 - x - y : x + y + c * 20);
  });
}

function jpeg(height: number, width: number, subsampling: number = jpegTurbo.SAMP_444): Uint8Array {
  const raw = Buffer.from(smooth(height, width));
  const { FORMAT_RGB: format } = jpegTurbo;
  return new Uint8Array(jpegTurbo.compressSync(raw, { format, width, height, quality: 95, subsampling }));
}

function fixture(name: string): Uint8Array {
  return new Uint8Array(readFileSync(new URL(`../../fixtures/images/${name}`, import.meta.url)));
}

function furthest(a: Uint8Array, b: Uint8Array): number {
  return a.reduce((most, value, i) => Math.max(most, Math.abs(value - (b[i] as number))), 0);
}

describe("JPEG images", () => {
  test("colours are RGB, close to what was compressed", () => {
    const { format, data } = decode(SCHEMA, jpeg(40, 56));
    expect(format).toMatchObject({
      shape: [40, 56, 3],
      dtype: "uint8",
      layout: "NHWC",
      itemBytes: 40 * 56 * 3,
    });
    expect(furthest(data, smooth(40, 56))).toBeLessThan(24);
  });

  test("grayscale becomes RGB, unless the schema has one channel; then colours become brightness", () => {
    const gray = fixture("gray.jpg");
    const rgb = decode(SCHEMA, gray);
    expect(rgb.format.shape).toEqual([16, 24, 3]);
    const one = decode({ ...SCHEMA, shape: [16, 24] }, gray);
    expect(one.format.shape).toEqual([16, 24, 1]);
    expect([...rgb.data]).toEqual([...one.data].flatMap((value) => [value, value, value]));
    const colour = fixture("colour.jpg");
    const { data } = decode(SCHEMA, colour);
    const bright = decode({ ...SCHEMA, shape: [16, 24, 1] }, colour).data;
    const expected = bright.map((_, i) => {
      const [r, g, b] = data.subarray(i * 3) as unknown as [number, number, number];
      return Math.round(0.299 * r + 0.587 * g + 0.114 * b);
    });
    expect(furthest(bright, expected)).toBeLessThan(6);
  });

  test("progressive and CMYK images decode to about the same", () => {
    const { data } = decode(SCHEMA, fixture("colour.jpg"));
    for (const name of ["progressive.jpg", "cmyk.jpg"])
      expect(furthest(decode(SCHEMA, fixture(name)).data, data), name).toBeLessThan(40);
    expect(() => decode({ ...SCHEMA, shape: [16, 24, 1] }, fixture("cmyk.jpg"))).toThrow(/CMYK/);
  });

  test("the orientation in EXIF is not applied", () => {
    // Orientation 6: a camera held upright. The file has the pixels of colour.jpg.
    const turned = decode(SCHEMA, fixture("orientation-6.jpg"));
    expect(turned.format.shape).toEqual([16, 24, 3]);
    expect(turned.data).toEqual(decode(SCHEMA, fixture("colour.jpg")).data);
  });

  test("images of all sizes fit one tensor when they are resized", () => {
    const items = [jpeg(40, 56), jpeg(33, 21, jpegTurbo.SAMP_420), fixture("gray.jpg"), fixture("cmyk.jpg")];
    const decoded = decodeAll(
      SCHEMA,
      items.map((bytes, i) => ({ path: `${i}.jpg`, bytes })),
      RESIZED,
    );
    for (const { format, data } of decoded) {
      expect(format.shape).toEqual([5, 7, 3]);
      expect(data).toHaveLength(105);
    }
  });

  test("without a processing every image has the size of the first, or of the schema", () => {
    const items = [jpeg(8, 9), jpeg(8, 10)].map((bytes, i) => ({ path: `${i}.jpg`, bytes }));
    expect(() => decodeAll(SCHEMA, items)).toThrow(/1.jpg: is 8×10×3 of uint8; this batch holds 8×9×3/);
    expect(() => decode({ ...SCHEMA, shape: [9, 8, 3] }, jpeg(8, 9))).toThrow(/this batch holds 9×8×3/);
  });

  test.each([
    ["uint16", { dtype: "uint16" }, /schema.dtype: is uint16/],
    ["four channels", { shape: [8, 9, 4] }, /schema.shape: has 4 channels; jpg images decode to 1 or 3/],
    ["one dimension", { shape: [8] }, /schema.shape: of an image/],
  ])("a schema that asks for %s is refused", (_, changes, message) => {
    expect(() => decode({ ...SCHEMA, ...changes }, jpeg(8, 9))).toThrow(message);
  });
});

describe("JPEG files that are wrong", () => {
  const good = jpeg(24, 32);

  test("a cut off image is refused, wherever the cut is", () => {
    for (let length = 0; length < good.length - 2; length += 7)
      expect(() => decode(SCHEMA, good.slice(0, length)), `${length} bytes`).toThrow(/^folder\/item: /);
  });

  test("an image that would decode with a warning is refused", () => {
    const extra = Buffer.concat([good.slice(0, -2), new Uint8Array(40), good.slice(-2)]);
    expect(() => decode(SCHEMA, new Uint8Array(extra))).toThrow(/without a warning/);
  });

  test("a header that announces too much is refused before anything is decoded", () => {
    const bomb = good.slice();
    const at = bomb.findIndex((byte, i) => byte === 0xff && bomb[i + 1] === 0xc0);
    new DataView(bomb.buffer).setUint32(at + 5, 0xfffffffe);
    expect(() => decode(SCHEMA, bomb)).toThrow(/is 65535×65534 pixels, .* are allowed/);
    new DataView(bomb.buffer).setUint32(at + 5, 0x0000_0020);
    expect(() => decode(SCHEMA, bomb)).toThrow(/is an image of 0×32 pixels/);
  });

  test("a file of a thousand scans is refused", () => {
    const image = fixture("progressive.jpg");
    const scan = image.findLastIndex((byte, i) => byte === 0xff && image[i + 1] === 0xda);
    const last = image.slice(scan, image.length - 2);
    const bytes = Buffer.concat([
      image.slice(0, scan),
      ...Array<Uint8Array>(1000).fill(last),
      image.slice(-2),
    ]);
    expect(() => decode(SCHEMA, new Uint8Array(bytes))).toThrow(/more than 64 scans/);
  });

  test("kinds that no decoder here knows are named", () => {
    for (const [marker, what] of [
      [0xc3, "marker c3"],
      [0xc9, "marker c9"],
    ] as const) {
      const other = good.slice();
      const at = other.findIndex((byte, i) => byte === 0xff && other[i + 1] === 0xc0);
      other[at + 1] = marker;
      expect(() => decode(SCHEMA, other)).toThrow(what);
    }
    expect(() => decode(SCHEMA, Uint8Array.of(0xff, 0xd8, 0xff, 0xd9))).toThrow(/without a frame/);
  });

  test("whatever is changed, an error names the path, or an image of the announced size comes out", () => {
    const sources = [good, fixture("progressive.jpg"), fixture("gray.jpg"), fixture("cmyk.jpg")];
    const change = fc.record({ at: fc.nat(1 << 20), to: fc.nat(255) });
    fc.assert(
      fc.property(
        fc.constantFrom(...sources),
        fc.array(change, { minLength: 1, maxLength: 5 }),
        fc.boolean(),
        (source, changes, isResized) => {
          const bytes = source.slice();
          for (const { at, to } of changes) bytes[at % bytes.length] = to;
          let length: number | undefined;
          try {
            const { data, format } = decode(SCHEMA, bytes, isResized ? RESIZED : undefined);
            length = data.length - format.itemBytes;
          } catch (error) {
            expect(error).toMatchObject({
              code: "invalid_argument",
              message: expect.stringMatching(/^folder\/item: /) as string,
            });
          }
          expect(length ?? 0).toBe(0);
        },
      ),
      { numRuns: 400 },
    );
  });

  test("random bytes are no image", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (noise) => {
        expect(() => decode(SCHEMA, noise)).toThrow(/^folder\/item: /);
        const begun = Uint8Array.of(0xff, 0xd8, 0xff, ...noise);
        expect(() => decode(SCHEMA, begun)).toThrow(/^folder\/item: /);
      }),
    );
  });
});
