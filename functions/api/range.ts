/** `Range` of one span of bytes (RFC 9110, section 14). */

/** Bytes `start` (inclusive) to `end` (exclusive). */
export interface ByteRange {
  readonly start: number;
  readonly end: number;
}

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
    return length === 0 ? "unsatisfiable" : { start: size - length, end: size };
  }
  if (last !== "" && Number(last) < Number(first)) return undefined;
  if (Number(first) >= size) return "unsatisfiable";
  return { start: Number(first), end: last === "" ? size : Math.min(Number(last) + 1, size) };
}
