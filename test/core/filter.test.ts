import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type DatasetFilter, filterPredicate, literalPrefix, viewHash } from "../../core/dataset/filter.ts";
import { blake3 } from "./blake3.ts";

const PATHS = [
  "train/cat/1.png",
  "train/cat/2.jpg",
  "train/dog/1.png",
  "train/.cache/x.png",
  "test/cat/1.png",
  "readme.md",
  "a(1)+b/[x]/!y@z.png",
  "train/cat (1)/1.png",
];

function selected(filter: DatasetFilter): string[] {
  return PATHS.filter(filterPredicate(filter));
}

test.each<[DatasetFilter, readonly number[]]>([
  [{ prefix: "train/c" }, [0, 1, 7]],
  [{ prefix: "" }, [0, 1, 2, 3, 4, 5, 6, 7]],
  [{ globs: ["**/*.png"] }, [0, 2, 3, 4, 6, 7]],
  [{ globs: ["**"] }, [0, 1, 2, 3, 4, 5, 6, 7]],
  [{ globs: ["*"] }, [5]],
  [{ globs: ["train/*/1.png"] }, [0, 2, 7]],
  [{ globs: ["*/cat/?.{png,jpg}"] }, [0, 1, 4]],
  [{ globs: ["train/[a-c]*/[0-9].png"] }, [0, 7]],
  [{ prefix: "train/", globs: ["**/1.*", "readme.md"] }, [0, 2, 7]],
  [{ globs: ["readme.md", "test/**"] }, [4, 5]],
  // Characters that mean something to other pattern languages are literal.
  [{ globs: ["a(1)+b/*/!y@z.png"] }, [6]],
  [{ globs: ["a(1)+b/\\[x\\]/!y@z.png"] }, [6]],
  [{ globs: ["train/cat (1)/*"] }, [7]],
  [{ globs: ["train/(cat|dog)/1.png"] }, []],
  [{ globs: ["train/ca+t/1.png"] }, []],
  [{ globs: ["train/@(cat)/1.png"] }, []],
  [{ globs: ["TRAIN/**"] }, []],
])("%j", (filter, expected) => {
  expect(selected(filter)).toEqual(expected.map((i) => PATHS[i]));
});

describe("the literal prefix", () => {
  test.each<[DatasetFilter, string]>([
    [{ prefix: "train/" }, "train/"],
    [{ globs: ["train/cat/*.png"] }, "train/cat/"],
    [{ globs: ["train/cat/*.png", "train/dog/*.png"] }, "train/"],
    [{ globs: ["train/c[ab]t"] }, "train/c"],
    [{ globs: ["a\\*b*"] }, "a*b"],
    [{ globs: ["{a,b}/c"] }, ""],
    [{ prefix: "train/", globs: ["**/*.png"] }, "train/"],
    [{ prefix: "tr", globs: ["train/*"] }, "train/"],
    [{ globs: ["😀", "😁"] }, ""],
  ])("%j → %j", (filter, prefix) => {
    expect(literalPrefix(filter)).toBe(prefix);
  });

  test("begins every selected path", () => {
    const part = fc.constantFrom(
      "train",
      "test",
      "cat",
      "*",
      "**",
      "?",
      "1.png",
      "*.png",
      "{cat,dog}",
      "[a-z]*",
      "\\!",
    );
    const glob = fc.array(part, { minLength: 1, maxLength: 3 }).map((parts) => parts.join("/"));
    const filter = fc.record({
      prefix: fc.option(fc.constantFrom("train/", "te", "train/cat/1.png"), { nil: undefined }),
      globs: fc.array(glob, { minLength: 1, maxLength: 3 }),
    });
    fc.assert(
      fc.property(filter, (each) => {
        const prefix = literalPrefix(each);
        for (const path of selected(each)) expect(path.startsWith(prefix)).toBe(true);
      }),
      { numRuns: 500 },
    );
  });
});

test.each<[string, DatasetFilter]>([
  ["filter", {}],
  ["filter.prefix", { prefix: "a".repeat(1_025) }],
  ["filter.prefix", { prefix: "a\0" }],
  ["filter.prefix", { prefix: "\ud800" }],
  ["filter.globs", { globs: [] }],
  ["filter.globs", { globs: Array.from({ length: 65 }, () => "*") }],
  ["filter.globs[1]", { globs: ["*", ""] }],
  ["filter.globs[0]", { globs: ["a".repeat(1_025)] }],
  ["filter.globs[0]", { globs: ["a\0"] }],
  ["filter.globs[0]", { globs: ["!train/**"] }],
  ["filter.globs[0]", { globs: ["/train/**"] }],
  ["filter.globs[0]", { globs: ["**/**/**/**/x"] }],
  ["filter.globs[0]", { globs: ["train/*a*a*a*a"] }],
])("%s is refused by name: %j", (field, filter) => {
  for (const use of [filterPredicate, literalPrefix])
    expect(() => use(filter)).toThrow(
      expect.objectContaining({ code: "invalid_argument", details: expect.objectContaining({ field }) }),
    );
});

test("a view's hash depends on every position and on their number", () => {
  const views = [[], [0], [1], [0, 1], [1, 0], [0, 1, 2 ** 32 - 1]].map((each) =>
    String(viewHash(Uint32Array.from(each), blake3)),
  );
  expect(new Set(views).size).toBe(views.length);
});
