import fc from "fast-check";
import { expect, test } from "vitest";
import {
  compareBytes,
  concatBytes,
  equalBytes,
  fromHex,
  readU64,
  toHex,
  viewOf,
  writeU64,
} from "../../core/bytes.ts";

test("u64 is little-endian and exact up to 2^53 − 1", () => {
  fc.assert(
    fc.property(fc.maxSafeNat(), fc.nat(9), (value, offset) => {
      const bytes = new Uint8Array(20).subarray(1);
      writeU64(viewOf(bytes), offset, value);
      expect(viewOf(bytes).getBigUint64(offset, true)).toBe(BigInt(value));
      expect(readU64(viewOf(bytes), offset)).toBe(value);
    }),
  );
  const view = new DataView(new ArrayBuffer(8));
  view.setBigUint64(0, 2n ** 53n, true);
  expect(readU64(view, 0)).toBeUndefined();
});

test("hexadecimal", () => {
  fc.assert(
    fc.property(fc.uint8Array(), (bytes) => {
      expect(toHex(bytes)).toBe(Buffer.from(bytes).toString("hex"));
      expect(fromHex(toHex(bytes).toUpperCase())).toEqual(bytes);
    }),
  );
  for (const text of ["a", "0g", "0x00", " 00", "00\n"]) expect(fromHex(text)).toBeUndefined();
});

test("comparison and joining", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 4 }), fc.uint8Array({ maxLength: 4 }), (a, b) => {
      expect(Math.sign(compareBytes(a, b))).toBe(Buffer.compare(a, b));
      expect(equalBytes(a, b)).toBe(Buffer.compare(a, b) === 0);
      expect(Buffer.compare(concatBytes([a, b, a]), Buffer.concat([a, b, a]))).toBe(0);
    }),
    { numRuns: 1_000 },
  );
});
