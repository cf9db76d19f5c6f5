import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { DataStreamError } from "../../core/errors.ts";
import {
  commonFolder,
  compileGlobs,
  parseFileGlobs,
  planScans,
} from "../../durable-objects/jobs/file-selection.ts";

describe("the folder that is cut off", () => {
  test.each([
    [["b/train/**/*.jpg"], "train/"],
    [["b/train/cat/1.jpg"], "train/cat/"],
    [["b/train/**", "b/train/cat/*"], "train/"],
    [["b/train/**", "b/test/**"], ""],
    [["b/data/train/**", "b/data/test/**"], "data/"],
    [["b/data/train/**", "c/data/training/**"], "data/"],
    [["b/data/{train,test}/**"], "data/"],
    [["b/da?a/train/**"], ""],
    [["b/**"], ""],
    [["b/a.jpg"], ""],
    [["b/a/[x]/c/**"], "a/"],
  ])("of %j is %j", (texts, folder) => {
    expect(commonFolder(parseFileGlobs(texts))).toBe(folder);
  });
});

const segment = fc.constantFrom("a", "ab", "b", "ü", "😀", "*", "a*", "?b", "[ab]", "{a,b}", "**");
/** Globs that are taken: of "**" at most three. */
const glob = fc
  .array(segment, { minLength: 1, maxLength: 4 })
  .filter((segments) => segments.filter((each) => each === "**").length <= 3)
  .map((segments) => segments.join("/"));
const text = fc.tuple(fc.constantFrom("one", "two"), glob).map((parts) => parts.join("/"));
const key = fc
  .array(fc.constantFrom("a", "ab", "b", "bb", "ü", "😀"), { minLength: 1, maxLength: 5 })
  .map((segments) => segments.join("/"));

test("scans see each key that a glob matches exactly once, with all globs that match it", () => {
  fc.assert(
    fc.property(
      fc.array(text, { minLength: 1, maxLength: 6 }),
      fc.constantFrom("one", "two"),
      key,
      (texts, bucket, each) => {
        const globs = parseFileGlobs(texts);
        const matchers = compileGlobs(globs);
        const matching = globs.flatMap((parsed, i) =>
          parsed.bucket === bucket && matchers[i]?.(each) ? [i] : [],
        );
        const scans = planScans(globs);
        const seeing = scans.filter((scan) => scan.bucket === bucket && each.startsWith(scan.prefix));
        expect(seeing.length).toBeLessThanOrEqual(1);
        const found = seeing.flatMap((scan) => scan.globs.filter((i) => matchers[i]?.(each)));
        expect(found.toSorted((a, b) => a - b)).toEqual(matching);
        // What is cut off is a folder of the key, and leaves a path.
        if (matching.length > 0) {
          const folder = commonFolder(globs);
          expect(each.startsWith(folder)).toBe(true);
          expect(each.length).toBeGreaterThan(folder.length);
        }
      },
    ),
    { numRuns: 2000 },
  );
});

describe("a text that is no bucket and glob", () => {
  test.each([
    "",
    "bucket",
    "bucket/",
    "/glob",
    "Bucket/**",
    "*/x",
    ".datasets/**",
    "b/../x",
    "b/./x",
    "b//x",
    "b/x/",
    "b/!x",
    `b/${"*".repeat(40)}a*a*a*a*a`,
  ])("%j is refused by its place", (bad) => {
    let error: unknown;
    try {
      parseFileGlobs(["b/good/**", bad]);
    } catch (thrown) {
      error = thrown;
    }
    expect(error as DataStreamError).toMatchObject({
      code: "invalid_argument",
      details: { field: "files[1]" },
    });
  });

  test("and no text, or too many, are refused", () => {
    expect(() => parseFileGlobs([])).toThrow("files: give 1 to 64");
    expect(() => parseFileGlobs(Array.from({ length: 65 }, () => "b/x"))).toThrow("files: give 1 to 64");
  });
});
