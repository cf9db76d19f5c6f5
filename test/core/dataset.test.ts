import { blake3 as noble } from "@noble/hashes/blake3.js";
import { describe, expect, test } from "vitest";
import { toHex } from "../../core/bytes.ts";
import { canonicalJson } from "../../core/canonical-json.ts";
import { checkDatasetName, isUuid, parseDatasetReference } from "../../core/dataset/name.ts";
import { labelOf, parseSchema, schemaHash, withClasses } from "../../core/dataset/schema.ts";
import { gate, parseTrustLevel } from "../../core/dataset/trust.ts";
import { utf8 } from "../../core/text.ts";
import { blake3 } from "./blake3.ts";

const invalid = (field: string): object =>
  expect.objectContaining({ code: "invalid_argument", details: expect.objectContaining({ field }) });

describe("names and references", () => {
  const id = "6f1c0f7e-7a51-4a4e-9d3e-0d6f3d1c2b1a";
  const hex = "0f".repeat(32);

  test.each(["a", "my-dataset", "cifar10.v2_final", "0", "a".repeat(128)])("%s is a name", (name) => {
    checkDatasetName(name);
    expect(parseDatasetReference(name)).toEqual({ name });
  });

  test.each(["", "a".repeat(129), "My", "-a", "a.", "a b", "a/b", "ä", "a@1", "..", "a\n", id])(
    "%j is no name",
    (name) => {
      expect(() => checkDatasetName(name)).toThrow(invalid("name"));
    },
  );

  test("references", () => {
    expect(parseDatasetReference(id.toUpperCase())).toEqual({ id });
    expect(isUuid(id)).toBe(true);
    expect(parseDatasetReference("ann/digits")).toEqual({ owner: "ann", name: "digits" });
    expect(parseDatasetReference("digits@3")).toEqual({ name: "digits", version: 3 });
    expect(parseDatasetReference("ann/digits@12")).toEqual({ owner: "ann", name: "digits", version: 12 });
    const contentHash = new Uint8Array(32).fill(0x0f);
    expect(parseDatasetReference(`digits@blake3:${hex}`)).toEqual({ name: "digits", contentHash });
    expect(parseDatasetReference(`${id}@blake3:${hex.toUpperCase()}`)).toEqual({ id, contentHash });
  });

  test.each([
    "",
    "@1",
    "/a",
    "a/",
    "a/b/c",
    "a@",
    "a@0",
    "a@01",
    "a@-1",
    "a@1.5",
    "a@2147483648",
    "a@latest",
    "a@1@2",
    `a@blake3:${hex.slice(2)}`,
    `a@blake3:${hex}00`,
    `a@sha256:${hex}`,
    `${id}@2`,
    `ann/${id}`,
  ])("%j is refused", (reference) => {
    expect(() => parseDatasetReference(reference)).toThrow(invalid("dataset_id"));
  });
});

describe("schema", () => {
  const images = { type: "image", format: "png", labels: "path" };

  test("is read from text or value; unknown keys are kept", () => {
    const schema = parseSchema('{"type":"image","format":"jpg","licence":{"name":"CC-BY"},"labels":"path"}');
    expect(schema).toEqual({ type: "image", format: "jpg", labels: "path", licence: { name: "CC-BY" } });
    expect(parseSchema({ type: "bytes", format: "raw", shape: [4], dtype: "uint8" }).labels).toBe("none");
    expect(parseSchema(schema)).toEqual(schema);
  });

  test.each<[string, unknown]>([
    ["schema", "{"],
    ["schema", "[]"],
    ["schema", null],
    ["schema.type", { format: "png" }],
    ["schema.type", { type: "imgae", format: "png" }],
    ["schema.format", { type: "image", format: "PNG image" }],
    ["schema.format", { type: "tensor", format: "raw", shape: [2, 2] }],
    ["schema.format", { type: "tensor", format: "raw", dtype: "uint8" }],
    ["schema.shape", { type: "tensor", format: "npy", shape: [] }],
    ["schema.shape.1", { type: "tensor", format: "npy", shape: [2, 0] }],
    ["schema.dtype", { type: "tensor", format: "npy", dtype: "double" }],
    ["schema.labels", { ...images, labels: "folder" }],
    ["schema.classes", { ...images, classes: ["a", "a"] }],
    ["schema.classes", { ...images, labels: "none", classes: ["a"] }],
    ["schema.classes.0", { ...images, classes: ["a/b"] }],
    ["schema", { ...images, note: "x".repeat(300_000) }],
    ["schema", { ...images, note: "\ud800" }],
  ])("%s is refused in %j", (field, schema) => {
    expect(() => parseSchema(schema)).toThrow(invalid(field));
  });

  test("classes are the parent folders, sorted by UTF-8 bytes and fixed", () => {
    const paths = ["x/b/1.png", "x/a/2.png", "y/b/3.png", "\uff21/1.png", "😀/1.png", "Z/1.png"];
    const schema = withClasses(parseSchema(images), paths);
    expect(schema.classes).toEqual(["Z", "a", "b", "\uff21", "😀"]);
    expect(paths.map((path) => labelOf(schema, path))).toEqual([2, 1, 2, 3, 4, 0]);
    expect(withClasses(schema, ["only/a/1.png"]).classes).toEqual(schema.classes);
    expect(parseSchema(schema).classes).toEqual(schema.classes);
  });

  test("an item without a folder or with an unlisted one is refused", () => {
    const schema = parseSchema(images);
    expect(() => withClasses(schema, ["a/1.png", "2.png"])).toThrow(/"2.png" lies in no folder/);
    const fixed = withClasses(schema, ["a/1.png"]);
    expect(() => withClasses(fixed, ["b/1.png"])).toThrow(invalid("schema.classes"));
    expect(() => labelOf(fixed, "b/1.png")).toThrow(invalid("schema.classes"));
  });

  test("without labels there are none", () => {
    const schema = parseSchema({ type: "text", format: "txt" });
    expect(withClasses(schema, ["1.txt"])).toBe(schema);
    expect(labelOf(schema, "1.txt")).toBeUndefined();
  });

  test("the hash is BLAKE3 of the canonical JSON, whatever the order of keys", () => {
    const text = '{"format":"png","labels":"path","type":"image","ü":[1,1.5,1e+21]}';
    const schema = parseSchema({ ü: [1.0, 1.5, 1e21], ...images });
    expect(canonicalJson(schema)).toBe(text);
    expect(toHex(schemaHash(schema, blake3))).toBe(toHex(noble(utf8(text))));
  });
});

describe("trust", () => {
  test("the gate lets pass what is trusted enough, and names both levels otherwise", () => {
    const levels = [0, 1, 2, 3, 4] as const;
    for (const level of levels) {
      for (const most of levels.filter((each) => each >= level)) gate(level, most);
      for (const most of levels.filter((each) => each < level))
        expect(() => gate(level, most)).toThrow(expect.objectContaining({ code: "permission_denied" }));
    }
    expect(() => gate(4, 1)).toThrow(/is 4 \(untrusted\), and max_trust_level is 1 \(signed\)/);
    for (const value of [-1, 5, 1.5, Number.NaN])
      expect(() => parseTrustLevel(value)).toThrow(invalid("max_trust_level"));
  });
});
