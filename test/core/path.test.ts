import fc from "fast-check";
import { expect, test } from "vitest";
import { asciiPathViolation, checkPath, NEEDS_DECODING, pathViolation } from "../../core/dataset/path.ts";
import { compareUtf8, fromUtf8, quoted, utf8 } from "../../core/text.ts";

test.each([
  "a",
  "a/b/c.png",
  "...",
  "..a/b..",
  ".hidden/x",
  "with space",
  "back\\slash",
  "é漢字😀",
  "a".repeat(1_024),
  "é".repeat(512),
])("%s is a path", (path) => {
  expect(pathViolation(path)).toBeUndefined();
  checkPath(path, "path");
});

test.each([
  ["", "is empty"],
  ["/a", "starts with '/'"],
  ["a/", "contains an empty segment"],
  ["a//b", "contains an empty segment"],
  ["..", "contains a '..' segment"],
  ["a/../b", "contains a '..' segment"],
  ["a/.", "contains a '.' segment"],
  ["a\0b", "contains a NUL character"],
  ["a\nb", "contains a control character"],
  ["a\u007f", "contains a control character"],
  ["a\u0080", "contains a control character"],
  ["a\u009f", "contains a control character"],
  ["e\u0301", "is not in Unicode normal form NFC"],
  ["\ud800", "is not valid Unicode"],
  ["a".repeat(1_025), "is longer than 1024 bytes"],
  ["é".repeat(513), "is longer than 1024 bytes"],
])("%j is refused: %s", (path, rule) => {
  expect(pathViolation(path)).toBe(rule);
  expect(() => checkPath(path, "files[7].path")).toThrow(
    expect.objectContaining({
      code: "invalid_argument",
      message: `files[7].path: ${quoted(path)} ${rule}. Use a relative path of at most 1024 bytes, with '/' between names.`,
      details: expect.objectContaining({ field: "files[7].path", rule, limit: 1_024 }),
    }),
  );
});

test("an error shows control characters escaped, and cuts long paths", () => {
  expect(() => checkPath(`a\u001b[31m${"x".repeat(5_000)}`, "path")).toThrow(
    /^path: "a\\u001b\[31mx{1,200}…" /,
  );
});

test("the check on raw bytes agrees with the check on text", () => {
  const text = fc.string({ unit: fc.constantFrom("a", "/", ".", "\0", "\n", "\u007f"), maxLength: 12 });
  fc.assert(
    fc.property(text, fc.nat(5), (path, shift) => {
      const bytes = new Uint8Array(shift + path.length + 3);
      bytes.set(utf8(path), shift);
      const violation = asciiPathViolation(bytes, shift, shift + path.length);
      // A path may break several rules; both name one of them.
      expect(violation === undefined).toBe(pathViolation(path) === undefined);
    }),
    { numRuns: 2_000 },
  );
  const bytes = utf8("a/é");
  expect(asciiPathViolation(bytes, 0, bytes.length)).toBe(NEEDS_DECODING);
});

test("text is ordered as its UTF-8 bytes, and survives both ways", () => {
  const unit = fc.constantFrom("a", "b", "\u007f", "é", "漢", "\ue000", "\uffff", "😀", "𝒳", "\ufeff");
  fc.assert(
    fc.property(fc.string({ unit, maxLength: 6 }), fc.string({ unit, maxLength: 6 }), (a, b) => {
      expect(Math.sign(compareUtf8(a, b))).toBe(Math.sign(Buffer.compare(utf8(a), utf8(b))));
      expect(fromUtf8(utf8(a))).toBe(a);
    }),
    { numRuns: 1_000 },
  );
  expect(fromUtf8(Uint8Array.of(0xff))).toBeUndefined();
});
