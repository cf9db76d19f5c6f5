import canonicalize from "canonicalize";
import { invalidArgument } from "./errors.ts";

/**
 * JSON in the canonical form of RFC 8785: keys sorted, no white space, one spelling of each number. Equal values
 * have equal text, so its bytes can be hashed and signed.
 * @param field what an error calls the value.
 * @throws `invalid_argument` for what JSON cannot say: NaN, infinities, lone surrogates, undefined at the top.
 */
export function canonicalJson(value: unknown, field: string = "json"): string {
  let text: string | undefined;
  try {
    text = canonicalize(value);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : "unknown";
    throw invalidArgument(field, `has no canonical JSON form (${reason}).`);
  }
  if (text === undefined) throw invalidArgument(field, "has no canonical JSON form.");
  return text;
}
