/** The bytes of statements: canonical JSON (RFC 8785), read back only where it is exactly that. */
import { canonicalJson } from "../canonical-json.ts";
import { equalBytes } from "../bytes.ts";
import { fromUtf8, utf8 } from "../text.ts";

export function statementBytes(statement: object): Uint8Array<ArrayBuffer> {
  return utf8(canonicalJson(statement, "statement"));
}

/** The JSON value of bytes that are its canonical form, so that no value has two; else undefined. */
export function parseCanonical(bytes: Uint8Array): unknown {
  const text = fromUtf8(bytes);
  if (text === undefined) return undefined;
  try {
    const value: unknown = JSON.parse(text);
    return equalBytes(utf8(canonicalJson(value)), bytes) ? value : undefined;
  } catch {
    return undefined;
  }
}
