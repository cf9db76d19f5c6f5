/** What the items of a dataset mean: type, format, shape and labels. */
import * as z from "zod";
import { canonicalJson } from "../canonical-json.ts";
import { invalidArgument } from "../errors.ts";
import { SCHEMA_MAX_BYTES } from "../limits.ts";
import type { Blake3 } from "../ports.ts";
import { refusalOf, sentenceOf } from "../refusal.ts";
import { compareUtf8, quoted, utf8 } from "../text.ts";

const DIMENSION_MAX = 2 ** 31 - 1;

export const DATA_TYPES = [
  "uint8",
  "int8",
  "uint16",
  "int16",
  "uint32",
  "int32",
  "uint64",
  "int64",
  "float16",
  "bfloat16",
  "float32",
  "float64",
  "bool",
] as const;
export type DataType = (typeof DATA_TYPES)[number];

export const ITEM_TYPES = ["image", "tensor", "text", "audio", "video", "json", "bytes"] as const;
export type ItemType = (typeof ITEM_TYPES)[number];

const className = z
  .string()
  .min(1)
  .refine(
    (name) => name.isWellFormed() && !name.includes("/"),
    "must be the name of a folder, without a slash.",
  );

const schemaShape = z
  .looseObject({
    type: z.enum(ITEM_TYPES),
    format: z.string().regex(/^[a-z0-9][a-z0-9.+-]{0,31}$/, "must be a lowercase name such as png or raw."),
    shape: z.array(z.int().min(1).max(DIMENSION_MAX)).min(1).max(8).optional(),
    dtype: z.enum(DATA_TYPES).optional(),
    labels: z.enum(["path", "none"]).default("none"),
    classes: z
      .array(className)
      .min(1)
      .refine((names) => new Set(names).size === names.length, "must not name a class twice.")
      .optional(),
  })
  .refine((schema) => schema.format !== "raw" || (schema.shape !== undefined && schema.dtype !== undefined), {
    path: ["format"],
    message: "raw items have no header, so the schema must give shape and dtype.",
  })
  .refine((schema) => schema.classes === undefined || schema.labels === "path", {
    path: ["classes"],
    message: 'needs "labels": "path".',
  });

/** A validated schema. Keys that this program does not know are kept as they came. */
export interface DatasetSchema {
  readonly type: ItemType;
  /** Encoding of an item: "png", "jpg", "raw", "npy"… */
  readonly format: string;
  /** Dimensions of one item; required for raw items. */
  readonly shape?: readonly number[] | undefined;
  readonly dtype?: DataType | undefined;
  /** "path": an item's class is the name of the folder that holds it. */
  readonly labels: "path" | "none";
  /** Label i means classes[i]. Fixed when the dataset is created. */
  readonly classes?: readonly string[] | undefined;
  readonly [unknown: string]: unknown;
}

/**
 * Validates a schema given as JSON text or as a JSON value.
 * @throws `invalid_argument` naming the key in question, for example `schema.format`.
 */
export function parseSchema(input: unknown, field: string = "schema"): DatasetSchema {
  const value = typeof input === "string" ? parseJson(input, field) : input;
  const result = schemaShape.safeParse(value, { error: sentenceOf });
  if (!result.success) throw refusalOf(result.error.issues, { place: field, prefix: field });
  checkText(result.data, field);
  return result.data;
}

/**
 * Fixes the class list of a schema with `"labels": "path"`: the names of the folders that hold the items, each
 * once, sorted by UTF-8 bytes. A class list that the creator gave stays as it is and must hold every folder.
 * Other schemas are returned unchanged.
 * @throws `invalid_argument` for an item without a folder, an unlisted class, or a list too large to store.
 */
export function withClasses(schema: DatasetSchema, paths: Iterable<string>): DatasetSchema {
  if (schema.labels !== "path") return schema;
  const given = schema.classes && new Set(schema.classes);
  const found = new Set<string>();
  for (const path of paths) {
    const name = parentFolder(path);
    if (given !== undefined && !given.has(name))
      throw invalidArgument(
        "schema.classes",
        `does not list ${quoted(name)}, the folder of ${quoted(path)}.`,
      );
    found.add(name);
  }
  if (given !== undefined) return schema;
  const complete = { ...schema, classes: [...found].toSorted(compareUtf8) };
  checkText(complete, "schema");
  return complete;
}

const labelers = new WeakMap<DatasetSchema, ReadonlyMap<string, number>>();

/**
 * Class index of an item, or undefined for a schema without labels.
 * @throws `invalid_argument` when the item has no folder or its folder is not in the class list.
 */
export function labelOf(schema: DatasetSchema, path: string): number | undefined {
  if (schema.labels !== "path") return undefined;
  let indices = labelers.get(schema);
  if (indices === undefined) {
    indices = new Map((schema.classes ?? []).map((name, index) => [name, index]));
    labelers.set(schema, indices);
  }
  const name = parentFolder(path);
  const index = indices.get(name);
  if (index === undefined)
    throw invalidArgument("schema.classes", `does not list ${quoted(name)}, the folder of ${quoted(path)}.`);
  return index;
}

/** BLAKE3 of the schema's canonical JSON (RFC 8785), 32 bytes. */
export function schemaHash(schema: DatasetSchema, blake3: Blake3): Uint8Array {
  return blake3.hash(utf8(canonicalJson(schema, "schema")));
}

function parentFolder(path: string): string {
  const end = path.lastIndexOf("/");
  if (end <= 0)
    throw invalidArgument(
      "schema.labels",
      `is "path", but ${quoted(path)} lies in no folder that could name its class.`,
      { path },
    );
  return path.slice(path.lastIndexOf("/", end - 1) + 1, end);
}

function parseJson(text: string, field: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    throw invalidArgument(field, "is not JSON.");
  }
}

/** In JSON text: behind an even number of backslashes. */
const ESCAPED_NUL = /(?<!\\)(?:\\\\)*\\u0000/;

function checkText(schema: DatasetSchema, field: string): void {
  const json = canonicalJson(schema, field);
  if (ESCAPED_NUL.test(json)) throw invalidArgument(field, "contains a NUL character.");
  const bytes = utf8(json).length;
  if (bytes > SCHEMA_MAX_BYTES)
    throw invalidArgument(field, `has ${bytes} bytes; ${SCHEMA_MAX_BYTES} are allowed.`, {
      limit: SCHEMA_MAX_BYTES,
    });
}
