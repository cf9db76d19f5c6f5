import { crc32, deflateSync } from "node:zlib";
import * as fc from "fast-check";
import { encode } from "fast-png";
import { describe, expect, test } from "vitest";
import { decode, decodeAll } from "./decoding.ts";

const SCHEMA = { type: "image", format: "png" };

describe("PNG images", () => {
  test.each([1, 2, 3, 4] as const)("%s channels of 8 bits", (channels) => {
    const data = Uint8Array.from({ length: 3 * 2 * channels }, (_, i) => i * 9);
    const decoded = decode(SCHEMA, encode({ width: 3, height: 2, data, depth: 8, channels }));
    expect(decoded.format).toMatchObject({ shape: [2, 3, channels], dtype: "uint8", layout: "NHWC" });
    expect(decoded.data).toEqual(data);
  });

  test("16 bits stay 16 bits", () => {
    const data = Uint16Array.from([0, 1000, 65535, 4]);
    const decoded = decode(SCHEMA, encode({ width: 2, height: 2, data, depth: 16, channels: 1 }));
    expect(decoded.format).toMatchObject({ shape: [2, 2, 1], dtype: "uint16" });
    expect(new Uint16Array(decoded.data.buffer)).toEqual(data);
  });

  test("one bit a pixel, rows padded to bytes", () => {
    // 10 pixels a row: 2 bytes, the last 6 bits of padding set to show that they are passed over.
    const packed = Uint8Array.of(0b10110010, 0b01111111, 0b01001101, 0b10111111);
    const decoded = decode(SCHEMA, encode({ width: 10, height: 2, data: packed, depth: 1, channels: 1 }));
    expect(decoded.format.shape).toEqual([2, 10, 1]);
    expect([...decoded.data].map((sample) => sample / 255)).toEqual([
      1, 0, 1, 1, 0, 0, 1, 0, 0, 1, 0, 1, 0, 0, 1, 1, 0, 1, 1, 0,
    ]);
  });

  test("palettes become colours, and a channel more where some of them are transparent", () => {
    const palette = [Uint8Array.of(1, 2, 3), Uint8Array.of(9, 8, 7)];
    const parts = [chunk("PLTE", Uint8Array.from(palette.flatMap((colour) => [...colour])))];
    const opaque = png({ width: 2, height: 1, depth: 8, type: 3 }, parts, Uint8Array.of(0, 1, 0));
    expect([...decode(SCHEMA, opaque).data]).toEqual([9, 8, 7, 1, 2, 3]);
    const transparent = png(
      { width: 2, height: 1, depth: 8, type: 3 },
      [...parts, chunk("tRNS", Uint8Array.of(77))],
      Uint8Array.of(0, 1, 0),
    );
    const decoded = decode(SCHEMA, transparent);
    expect(decoded.format.shape).toEqual([1, 2, 4]);
    expect([...decoded.data]).toEqual([9, 8, 7, 255, 1, 2, 3, 77]);
  });

  test("another size or other channels than the first image are refused by path", () => {
    const small = encode({ width: 4, height: 4, data: new Uint8Array(16), depth: 8, channels: 1 });
    const wide = encode({ width: 5, height: 4, data: new Uint8Array(20), depth: 8, channels: 1 });
    const colour = encode({ width: 4, height: 4, data: new Uint8Array(48), depth: 8, channels: 3 });
    const items = (second: Uint8Array) => [
      { path: "a.png", bytes: small },
      { path: "b/second.png", bytes: second },
    ];
    expect(() => decodeAll(SCHEMA, items(wide))).toThrow(
      /b\/second.png: is 4×5×1 of uint8; this batch holds 4×4×1/,
    );
    expect(() => decodeAll(SCHEMA, items(colour))).toThrow(/b\/second.png: is 4×4×3 of uint8/);
  });

  test("a header that announces too much is refused before anything is decoded", () => {
    const bomb = (width: number, height: number) =>
      png({ width, height, depth: 8, type: 0 }, [], new Uint8Array(64));
    expect(() => decode(SCHEMA, bomb(60_000, 60_000))).toThrow(/folder\/item: is 60000×60000 pixels, /);
    expect(() => decode(SCHEMA, bomb(2 ** 31 - 1, 1))).toThrow(/65535 a side are allowed/);
    expect(() => decode(SCHEMA, bomb(0, 4))).toThrow(/is an image of 4×0 pixels/);
  });

  test("a text chunk that unpacks to 256 MiB is passed over", () => {
    const text = deflateSync(new Uint8Array(1 << 28));
    const zipped = Buffer.from("comment\0\0", "latin1");
    const body = new Uint8Array(zipped.length + text.length);
    body.set(zipped);
    body.set(text, zipped.length);
    const image = png({ width: 1, height: 1, depth: 8, type: 0 }, [chunk("zTXt", body)], Uint8Array.of(0, 5));
    expect([...decode(SCHEMA, image).data]).toEqual([5]);
  });

  test("whatever is cut off or changed, an error names the path, or an image of the announced size comes out", () => {
    const data = Uint8Array.from({ length: 12 * 9 * 3 }, (_, i) => (i * i) >> 3);
    const good = encode({ width: 12, height: 9, data, depth: 8, channels: 3 });
    const change = fc.record({ at: fc.nat(good.length - 1), to: fc.nat(255) });
    fc.assert(
      fc.property(fc.array(change, { maxLength: 4 }), fc.nat(good.length), (changes, cut) => {
        const bytes = good.slice(0, cut);
        for (const { at, to } of changes) if (at < cut) bytes[at] = to;
        expectDefined(SCHEMA, bytes);
      }),
      { numRuns: 300 },
    );
  });
});

/** Decodes, or refuses naming the path: nothing else may happen. */
function expectDefined(schema: unknown, bytes: Uint8Array): void {
  let length: number;
  try {
    const { data, format } = decode(schema, bytes);
    length = data.length - format.itemBytes;
  } catch (error) {
    expect(error).toMatchObject({
      code: "invalid_argument",
      message: expect.stringMatching(/^folder\/item: /) as string,
    });
    return;
  }
  expect(length).toBe(0);
}

interface Header {
  readonly width: number;
  readonly height: number;
  readonly depth: number;
  readonly type: number;
}

/** A PNG file of these chunks; `rows` are filter bytes and samples. */
function png(
  { width, height, depth, type }: Header,
  chunks: readonly Buffer[],
  rows: Uint8Array,
): Uint8Array {
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header[8] = depth;
  header[9] = type;
  const signature = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
  const parts = [signature, chunk("IHDR", header), ...chunks, chunk("IDAT", deflateSync(rows))];
  return new Uint8Array(Buffer.concat([...parts, chunk("IEND", new Uint8Array())]));
}

function chunk(type: string, body: Uint8Array): Buffer {
  const bytes = Buffer.alloc(12 + body.length);
  bytes.writeUInt32BE(body.length, 0);
  bytes.write(type, 4, "latin1");
  bytes.set(body, 8);
  bytes.writeUInt32BE(crc32(bytes.subarray(4, 8 + body.length)), 8 + body.length);
  return bytes;
}
