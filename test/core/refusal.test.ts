/** What is said of input that does not fit: the sentences, and the field and limit beside them. */
import { expect, test } from "vitest";
import * as z from "zod";
import { refusalOf, sentenceOf } from "../../core/refusal.ts";

const shape = z.strictObject({
  text: z.string().min(2).max(3).optional(),
  letter: z.string().min(1).optional(),
  number: z.number().min(5).max(10).optional(),
  below: z.number().lt(1).gt(0).optional(),
  whole: z.int().optional(),
  coerced: z.coerce.number().int().optional(),
  even: z.number().multipleOf(2).optional(),
  list: z.array(z.string()).min(1).max(2).optional(),
  pair: z.array(z.int()).length(2).optional(),
  range: z.tuple([z.number(), z.number()]).optional(),
  flag: z.boolean().optional(),
  email: z.email().optional(),
  id: z.uuid().optional(),
  time: z.iso.datetime().optional(),
  pattern: z.string().regex(/^a+$/).optional(),
  worded: z.string().regex(/^a+$/, "must be of a alone.").optional(),
  one: z.enum(["a", "b", "c"]).optional(),
  literal: z.literal("x").optional(),
  either: z.union([z.strictObject({ size: z.int() }), z.string()]).optional(),
  kind: z
    .discriminatedUnion("is", [z.object({ is: z.literal("tar") }), z.object({ is: z.literal("object") })])
    .optional(),
  keys: z.record(z.string().regex(/^a$/), z.int()).optional(),
  custom: z
    .string()
    .refine(() => false)
    .optional(),
});

function said(value: unknown, schema: z.ZodType = shape): [message: string, details: object] {
  const { error } = schema.safeParse(value, { error: sentenceOf });
  const { code, message, details } = refusalOf(error?.issues ?? [], { place: "body" });
  expect(code).toBe("invalid_argument");
  return [message, details];
}

test.each<[unknown, string, object]>([
  [{ text: "abcd" }, "text: must have at most 3 characters.", { field: "text", limit: 3 }],
  [{ text: "a" }, "text: must have at least 2 characters.", { field: "text", limit: 2 }],
  [{ letter: "" }, "letter: must have at least 1 character.", { field: "letter", limit: 1 }],
  [{ number: 11 }, "number: must be at most 10.", { field: "number", limit: 10 }],
  [{ number: 4 }, "number: must be at least 5.", { field: "number", limit: 5 }],
  [{ number: "5" }, "number: must be a number.", { field: "number" }],
  [{ below: 1 }, "below: must be less than 1.", { field: "below", limit: 1 }],
  [{ below: 0 }, "below: must be more than 0.", { field: "below", limit: 0 }],
  [{ whole: 1.5 }, "whole: must be a whole number.", { field: "whole" }],
  [{ coerced: "many" }, "coerced: must be a number.", { field: "coerced" }],
  [{ coerced: "1.5" }, "coerced: must be a whole number.", { field: "coerced" }],
  [{ even: 3 }, "even: must be a multiple of 2.", { field: "even" }],
  [{ list: [] }, "list: must have at least 1 entry.", { field: "list", limit: 1 }],
  [{ list: ["a", "b", "c"] }, "list: must have at most 2 entries.", { field: "list", limit: 2 }],
  [{ list: ["a", 1] }, "list.1: must be text.", { field: "list.1" }],
  [{ pair: [1] }, "pair: must have exactly 2 entries.", { field: "pair", limit: 2 }],
  [{ range: 1 }, "range: must be a list.", { field: "range" }],
  [{ range: [1, 2, 3] }, "range: must have at most 2 entries.", { field: "range", limit: 2 }],
  [{ flag: "yes" }, "flag: must be true or false.", { field: "flag" }],
  [{ list: {} }, "list: must be a list.", { field: "list" }],
  [{ email: "a" }, "email: must be an e-mail address such as ada@example.com.", { field: "email" }],
  [{ id: "a" }, "id: must be a UUID such as 9b2f3c1e-5a41-4d0e-8f5b-2f6a4c1d7e90.", { field: "id" }],
  [{ time: "now" }, "time: must be a time such as 2026-12-01T12:00:00Z.", { field: "time" }],
  [{ pattern: "b" }, "pattern: must be text of the form /^a+$/.", { field: "pattern" }],
  [{ worded: "b" }, "worded: must be of a alone.", { field: "worded" }],
  [{ one: "d" }, 'one: must be one of "a", "b", "c".', { field: "one", allowed: ["a", "b", "c"] }],
  [{ literal: "y" }, 'literal: must be "x".', { field: "literal", allowed: ["x"] }],
  [{ either: 5 }, "either: must be a JSON object or text.", { field: "either" }],
  [{ either: { size: "s" } }, "either.size: must be a number.", { field: "either.size" }],
  [{ either: {} }, "either.size: is missing. Send a number.", { field: "either.size" }],
  [{ kind: { is: "zip" } }, 'kind.is: must be "tar" or "object".', { field: "kind.is" }],
  [{ kind: {} }, 'kind.is: must be "tar" or "object".', { field: "kind.is" }],
  [{ keys: { b: 1 } }, "keys.b: does not fit. /openapi.json describes what does.", { field: "keys.b" }],
  [{ custom: "a" }, "custom: does not fit. /openapi.json describes what does.", { field: "custom" }],
  [{ txt: "a" }, "txt: is no known field. Leave it out, or correct its name.", { field: "txt" }],
  [[], "body: must be a JSON object.", { field: "body" }],
  [undefined, "body: is missing. Send a JSON object.", { field: "body" }],
])("%j: %s", (value, message, details) => {
  expect(said(value)).toEqual([message, details]);
});

test("what is missing is told with what to send", () => {
  const schema = z.object({ name: z.string(), size: z.enum(["s", "m"]) });
  expect(said({ size: "s" }, schema)[0]).toBe("name: is missing. Send text.");
  expect(said({ name: "a" }, schema)[0]).toBe('size: is missing. Send "s" or "m".');
});

test("a prefix precedes the field, and stands for the whole", () => {
  const of = (value: unknown): string =>
    refusalOf(shape.safeParse(value, { error: sentenceOf }).error?.issues ?? [], {
      place: "schema",
      prefix: "schema",
    }).message;
  expect(of({ number: 4 })).toBe("schema.number: must be at least 5.");
  expect(of([])).toBe("schema: must be a JSON object.");
});
