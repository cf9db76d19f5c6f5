import { blake3 as noble } from "@noble/hashes/blake3.js";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { compareBytes, viewOf, writeU64 } from "../../core/bytes.ts";
import { encodeManifest, Manifest, ManifestBuilder, manifestHash } from "../../core/dataset/manifest.ts";
import { DataStreamError } from "../../core/errors.ts";
import { utf8 } from "../../core/text.ts";
import { blake3 } from "./blake3.ts";
import { file, numberedFiles, validFiles } from "./manifests.ts";

function contents(manifest: Manifest): object[] {
  return Array.from({ length: manifest.count }, (_, i) => {
    const { path, size, contentHash } = manifest.item(i);
    return { path, size, contentHash: [...contentHash] };
  });
}

const plain = (files: readonly { path: string; size: number; contentHash: Uint8Array }[]): object[] =>
  files.map(({ path, size, contentHash }) => ({ path, size, contentHash: [...contentHash] }));

test("the layout is the documented one, byte for byte", () => {
  const first = { path: "a/b", size: 0x0102030405, contentHash: new Uint8Array(32).fill(0xaa) };
  const second = { path: "é", size: 7, contentHash: new Uint8Array(32).fill(0xbb) };
  const bytes = encodeManifest([first, second]);
  const expected = new Uint8Array(64 + 2 * 48 + 5);
  expected.set(utf8("CYXM"), 0);
  expected.set([1, 0, 0, 0], 4);
  expected.set([2], 8);
  expected.set([160], 16);
  expected.set([5], 24);
  expected.set([0x0c, 0x04, 0x03, 0x02, 0x01], 32);
  expected.set([3], 64);
  expected.set([5, 4, 3, 2, 1], 72);
  expected.fill(0xaa, 80, 112);
  expected.set([5], 112);
  expected.set([7], 120);
  expected.fill(0xbb, 128, 160);
  expected.set([0x61, 0x2f, 0x62, 0xc3, 0xa9], 160);
  expect([...bytes]).toEqual([...expected]);
  expect(manifestHash(bytes, blake3)).toEqual(noble(expected));
});

test("what was encoded is read back, and one list has one encoding", () => {
  fc.assert(
    fc.property(validFiles, (files) => {
      const bytes = encodeManifest(files);
      const manifest = Manifest.parse(bytes);
      expect(contents(manifest)).toEqual(plain(files));
      expect(manifest.totalSize).toBe(files.reduce((sum, { size }) => sum + size, 0));
      expect(encodeManifest(files.map((_, i) => manifest.item(i)))).toEqual(bytes);
      files.forEach(({ path }, i) => expect(manifest.indexOf(path)).toBe(i));
      expect(manifest.indexOf("not/there")).toBe(-1);
      const sorted = files.toSorted((a, b) => compareBytes(utf8(a.path), utf8(b.path)));
      expect(manifest.header.customOrder).toBe(files.some((each, i) => each !== sorted[i]));
    }),
  );
});

test("paths and records that cross the builder's segments", () => {
  const files = Array.from({ length: 9_000 }, (_, i) =>
    file(`${String(i).padStart(6, "0")}/${"x".repeat((i * 37) % 300)}y`, i),
  );
  const builder = new ManifestBuilder();
  for (const each of files) builder.add(each);
  const manifest = Manifest.parse(builder.finish());
  for (const i of [0, 1, 4_095, 4_096, 4_097, 8_999])
    expect(manifest.item(i)).toMatchObject({ path: (files[i] as { path: string }).path, size: i });
});

test("fuzz: every single-byte corruption is refused or means another list under another hash", () => {
  const bytes = encodeManifest([
    file("b/1.png", 300),
    file("a/2.png", 70_000),
    file("c/é.png", 0),
    file("c/漢字", 5),
  ]);
  const original = JSON.stringify(contents(Manifest.parse(bytes)));
  const hash = String(manifestHash(bytes, blake3));
  const outcomes = { refused: 0, "another list": 0, "same list": 0, "same hash": 0 };
  const outcomeOf = (corrupt: Uint8Array): keyof typeof outcomes => {
    try {
      return JSON.stringify(contents(Manifest.parse(corrupt))) === original ? "same list" : "another list";
    } catch (error) {
      if (error instanceof DataStreamError && error.code === "data_loss") return "refused";
      throw error;
    }
  };
  for (let at = 0; at < bytes.length; at++) {
    const corrupt = bytes.slice();
    for (let flip = 1; flip < 256; flip++) {
      corrupt[at] = (bytes[at] as number) ^ flip;
      outcomes[outcomeOf(corrupt)]++;
    }
    if (String(manifestHash(corrupt, blake3)) === hash) outcomes["same hash"]++;
  }
  expect(outcomes).toMatchObject({ "same list": 0, "same hash": 0 });
  // Hashes and letters of paths can become others; the frame cannot.
  expect(outcomes.refused).toBeGreaterThan(20_000);
  expect(outcomes["another list"]).toBeGreaterThanOrEqual(4 * 32 * 255);
});

describe("forged framing is refused", () => {
  const files = numberedFiles(3);
  const good = encodeManifest(files);
  const pathsAt = 64 + 3 * 48;
  const forge = (change: (bytes: Uint8Array, view: DataView) => void): Uint8Array => {
    const bytes = good.slice();
    change(bytes, viewOf(bytes));
    return bytes;
  };
  const withPath = (path: Uint8Array): Uint8Array => {
    const bytes = new Uint8Array(64 + 48 + path.length);
    bytes.set(good.subarray(0, 64));
    const view = viewOf(bytes);
    writeU64(view, 8, 1);
    writeU64(view, 16, 112);
    writeU64(view, 24, path.length);
    writeU64(view, 32, 0);
    writeU64(view, 64, path.length);
    bytes.set(path, 112);
    return bytes;
  };

  test.each<[string, Uint8Array, RegExp]>([
    ["nothing", new Uint8Array(0), /shorter than its 64-byte header/],
    ["a cut header", good.subarray(0, 63), /shorter than its 64-byte header/],
    ["a cut end", good.subarray(0, -1), /bytes where its header says/],
    ["a byte too many", Uint8Array.from([...good, 0x61]), /bytes where its header says/],
    ["another magic", forge((bytes) => bytes.set([0x58], 3)), /does not start with CYXM/],
    ["version 2", forge((bytes) => bytes.set([2], 4)), /version 2/],
    ["an unknown flag", forge((bytes) => bytes.set([2], 6)), /unknown flags 0x2/],
    ["a sorted custom order", forge((bytes) => bytes.set([1], 6)), /flagged as custom order but is sorted/],
    ["a reserved byte", forge((bytes) => bytes.set([1], 63)), /reserved header byte/],
    ["paths inside the records", forge((_, view) => writeU64(view, 16, pathsAt - 48)), /another offset/],
    ["a count that wraps", forge((_, view) => view.setBigUint64(8, 2n ** 63n, true)), /out of range/],
    [
      "a path end before the one before",
      forge((_, view) => writeU64(view, 64 + 48, 5)),
      /path of file 1 an end outside/,
    ],
    [
      "a path end past the paths",
      forge((_, view) => writeU64(view, 64 + 96, 1_000)),
      /path of file 2 an end outside/,
    ],
    ["a path of no bytes", forge((_, view) => writeU64(view, 64, 0)), /file 0 whose path is empty/],
    ["bytes of no path", forge((_, view) => writeU64(view, 64 + 96, 18 * 3 - 1)), /belong to no file/],
    ["a size above 2^53", forge((_, view) => view.setBigUint64(72, 2n ** 60n, true)), /2\^53/],
    ["another sum of sizes", forge((_, view) => writeU64(view, 32, 99)), /99 bytes in all/],
    ["a duplicate", forge((bytes) => bytes.set(bytes.slice(pathsAt, pathsAt + 18), pathsAt + 18)), /twice/],
    ["two paths the wrong way round", forge((bytes) => bytes.set([0x39], pathsAt + 6)), /not sorted/],
    ["a path with '..'", withPath(utf8("a/../b")), /'\.\.' segment/],
    ["a path with NUL", withPath(utf8("a\0b")), /NUL/],
    ["an absolute path", withPath(utf8("/a")), /starts with '\/'/],
    ["a C1 control character", withPath(utf8("a\u0085b")), /control character/],
    ["a path in NFD", withPath(utf8("e\u0301")), /NFC/],
    ["a lone surrogate in UTF-8", withPath(Uint8Array.of(0xed, 0xa0, 0x80)), /not valid UTF-8/],
    ["an overlong encoding of '/'", withPath(Uint8Array.of(0x61, 0xc0, 0xaf, 0x62)), /not valid UTF-8/],
    ["a path of 1,025 bytes", withPath(utf8("a".repeat(1_025))), /longer than 1024 bytes/],
  ])("%s", (_, bytes, message) => {
    expect(() => Manifest.parse(bytes)).toThrow(
      expect.objectContaining({ code: "data_loss", message: expect.stringMatching(message) }),
    );
  });

  test("a duplicate far apart in a custom order", () => {
    const custom = encodeManifest([file("b"), file("a"), file("c")]);
    custom.set(utf8("b"), custom.length - 1);
    expect(() => Manifest.parse(custom)).toThrow(/names "b" twice/);
  });

  test("a path and a hash cannot trade bytes with their neighbours", () => {
    // Without framing, {a: h1, b: h2} and one file named a·h1·b would hash alike.
    const two = encodeManifest([file("a", 1), file("b", 1)]);
    const one = encodeManifest([file("ab", 2)]);
    expect(manifestHash(two, blake3)).not.toEqual(manifestHash(one, blake3));
  });

  test("a byte order mark is part of a path", () => {
    expect(Manifest.parse(withPath(utf8("\ufeffa"))).itemPath(0)).toBe("\ufeffa");
  });
});

describe("bad input is refused by name", () => {
  test.each<[string, Parameters<typeof encodeManifest>[0], string]>([
    ["a broken path", [file("ok"), file("a/./b")], "files[1].path"],
    ["a duplicate next to the first", [file("a"), file("a")], "files[1].path"],
    ["a duplicate further on", [file("b"), file("a"), file("b")], "files[2].path"],
    ["a negative size", [file("a", -1)], "files[0].size"],
    ["a size that is no whole number", [file("a", 0.5)], "files[0].size"],
    ["sizes with too large a sum", [file("a", 2 ** 53 - 1), file("b", 1)], "files[1].size"],
    ["a short hash", [{ path: "a", size: 1, contentHash: new Uint8Array(31) }], "files[0].content_hash"],
  ])("%s", (_, files, field) => {
    expect(() => encodeManifest(files)).toThrow(
      expect.objectContaining({ code: "invalid_argument", details: expect.objectContaining({ field }) }),
    );
  });

  test("an index past the end", () => {
    const manifest = Manifest.parse(encodeManifest(numberedFiles(3)));
    for (const index of [-1, 3, 0.5]) expect(() => manifest.item(index)).toThrow(RangeError);
  });
});
