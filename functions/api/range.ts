/** `Range` of one span of bytes (RFC 9110, section 14). */

import type { ByteRange } from "../../storage/object-reader.ts";

/**
 * What a `Range` header asks of a representation of `size` bytes.
 * @returns undefined for "all of it": no header, another unit, several spans, or a malformed one, which a server may
 *   all ignore; "unsatisfiable" when not one byte of the span exists.
 */
export function parseRange(header: string | null, size: number): ByteRange | "unsatisfiable" | undefined {
  const span = /^bytes=\s*(\d*)-(\d*)\s*$/i.exec(header ?? "");
  if (span === null) return undefined;
  const [, first = "", last = ""] = span;
  if (first === "") {
    if (last === "") return undefined;
    const length = Math.min(Number(last), size);
    return length === 0 ? "unsatisfiable" : { offset: size - length, length };
  }
  if (last !== "" && Number(last) < Number(first)) return undefined;
  if (Number(first) >= size) return "unsatisfiable";
  const offset = Number(first);
  return { offset, length: (last === "" ? size : Math.min(Number(last) + 1, size)) - offset };
}
