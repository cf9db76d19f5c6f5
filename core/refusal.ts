/**
 * What is said of input that does not fit its schema: sentences of our own for every issue that the validator finds.
 * They say the limit, and with it what would do; the field stands before them.
 */
import type * as z from "zod";
import { type DataStreamError, type ErrorDetails, invalidArgument } from "./errors.ts";

type Issue = z.core.$ZodIssue;
type RawIssue = z.core.$ZodRawIssue;

/**
 * Give it to the validator as its `error` or `localeError`. A message that a schema has itself goes before it; such a
 * message too ends with a full stop.
 */
export function sentenceOf(issue: RawIssue): string {
  const wanted = wantedBy(issue);
  // Known only here: the finished issue does not tell what came.
  return issue.input === undefined && wanted.noun !== undefined
    ? `is missing. Send ${wanted.noun}.`
    : `${wanted.sentence ?? `must be ${wanted.noun}`}.`;
}

/**
 * The error for the first issue, by the field that is at fault.
 * @param place names the whole input, where no field of it is at fault.
 * @param prefix precedes the field's path, with a dot between.
 */
export function refusalOf(
  issues: readonly Issue[],
  { place, prefix, ...details }: { readonly place: string; readonly prefix?: string; readonly in?: string },
): DataStreamError {
  const issue = deepest(issues[0] as Issue);
  const unknown = issue.code === "unrecognized_keys" ? issue.keys.slice(0, 1) : [];
  const path = [...(prefix === undefined ? [] : [prefix]), ...issue.path, ...unknown].map(String).join(".");
  return invalidArgument(path || place, issue.message, { ...details, ...limitOf(issue) });
}

function limitOf(issue: Issue): ErrorDetails {
  if (issue.code === "too_big") return { limit: Number(issue.maximum) };
  if (issue.code === "too_small") return { limit: Number(issue.minimum) };
  if (issue.code === "invalid_value") return { allowed: issue.values.map(String) };
  return {};
}

/** Of alternatives, the one that was meant: the issue inside it says more than that none fits. */
function deepest(issue: Issue): Issue {
  if (issue.code !== "invalid_union") return issue;
  const inside = issue.errors.flatMap((each) => each.slice(0, 1)).find(isNoWrongType);
  if (inside === undefined) return issue;
  const found = deepest(inside);
  return { ...found, path: [...issue.path, ...found.path] };
}

function isNoWrongType(issue: Issue): boolean {
  return issue.path.length > 0 || issue.code !== "invalid_type";
}

interface Wanted {
  /** What would do, to follow "Send" or "must be"; undefined where the input cannot be missing. */
  readonly noun?: string;
  /** Where "must be" and the noun do not say it. */
  readonly sentence?: string;
}

function wantedBy(issue: RawIssue): Wanted {
  switch (issue.code) {
    case "invalid_type":
      return { noun: nounOf(issue.expected) };
    case "invalid_value":
      return { noun: oneOf(issue.values.map((value) => JSON.stringify(value))) };
    case "too_big":
      return { sentence: bound(issue, issue.maximum, issue.inclusive ? "at most" : "less than") };
    case "too_small":
      return { sentence: bound(issue, issue.minimum, issue.inclusive ? "at least" : "more than") };
    case "not_multiple_of":
      return { noun: `a multiple of ${issue.divisor}` };
    case "invalid_format":
      return { noun: FORMATS[issue.format] ?? `text of the form ${issue.pattern ?? issue.format}` };
    case "unrecognized_keys":
      return { sentence: "is no known field. Leave it out, or correct its name" };
    case "invalid_union":
      return { noun: alternatives(issue) };
    default:
      return { sentence: "does not fit. /openapi.json describes what does" };
  }
}

const COUNTED: Readonly<Record<string, readonly [one: string, many: string]>> = {
  string: ["character", "characters"],
  array: ["entry", "entries"],
  set: ["entry", "entries"],
  map: ["entry", "entries"],
  file: ["byte", "bytes"],
};

function bound(
  { origin, exact }: { readonly origin: string; readonly exact?: boolean | undefined },
  limit: number | bigint,
  comparison: string,
): string {
  const counted = COUNTED[origin];
  if (counted === undefined) return `must be ${exact === true ? "exactly" : comparison} ${limit}`;
  return `must have ${exact === true ? "exactly" : comparison} ${limit} ${counted[Number(limit) === 1 ? 0 : 1]}`;
}

const FORMATS: Readonly<Record<string, string>> = {
  email: "an e-mail address such as ada@example.com",
  uuid: "a UUID such as 9b2f3c1e-5a41-4d0e-8f5b-2f6a4c1d7e90",
  datetime: "a time such as 2026-12-01T12:00:00Z",
};

const NOUNS: Readonly<Record<string, string>> = {
  string: "text",
  number: "a number",
  int: "a whole number",
  boolean: "true or false",
  array: "a list",
  tuple: "a list",
  object: "a JSON object",
  record: "a JSON object",
};

function nounOf(type: string): string {
  return NOUNS[type] ?? type;
}

function alternatives(issue: z.core.$ZodRawIssue<z.core.$ZodIssueInvalidUnion>): string {
  if ("options" in issue && Array.isArray(issue.options))
    return oneOf(issue.options.map((option) => JSON.stringify(option)));
  const types = (issue.errors ?? []).flatMap((each) =>
    each.flatMap((inside) => (inside.code === "invalid_type" ? [nounOf(inside.expected)] : [])),
  );
  return types.length === 0 ? "as /openapi.json describes it" : oneOf([...new Set(types)]);
}

function oneOf(texts: readonly string[]): string {
  return texts.length <= 2 ? texts.join(" or ") : `one of ${texts.join(", ")}`;
}
