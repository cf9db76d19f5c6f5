import { invalidArgument } from "../errors.ts";
import { PATH_MAX_BYTES } from "../limits.ts";
import { quoted, utf8 } from "../text.ts";

/**
 * Why `path` may not name a file of a dataset, or undefined when it may.
 *
 * A path is relative, `/` separates its segments, and it is Unicode NFC of at most 1,024
 * UTF-8 bytes. No segment is empty, `.` or `..`; there are no control characters (C0, DEL, C1).
 * So two different byte strings never mean one file, and joining a path to a folder stays inside it.
 * Not checked: names that one operating system reserves (`CON`, a backslash on Windows).
 */
export function pathViolation(path: string): string | undefined {
  if (path === "") return "is empty";
  if (!path.isWellFormed()) return "is not valid Unicode";
  if (utf8(path).length > PATH_MAX_BYTES) return `is longer than ${PATH_MAX_BYTES} bytes`;
  for (let i = 0; i < path.length; i++) {
    const unit = path.charCodeAt(i);
    if (unit === 0) return "contains a NUL character";
    if (unit < 0x20 || (unit >= 0x7f && unit < 0xa0)) return "contains a control character";
  }
  if (path.startsWith("/")) return "starts with '/'";
  for (const segment of path.split("/")) {
    if (segment === "") return "contains an empty segment";
    if (segment === ".") return "contains a '.' segment";
    if (segment === "..") return "contains a '..' segment";
  }
  if (path !== path.normalize("NFC")) return "is not in Unicode normal form NFC";
  return undefined;
}

/** Says that bytes are not ASCII: decode them and ask `pathViolation`. */
export const NEEDS_DECODING: unique symbol = Symbol("needs decoding");

/** The same rules over raw bytes, without decoding while they are ASCII. */
export function asciiPathViolation(
  bytes: Uint8Array,
  start: number,
  end: number,
): string | undefined | typeof NEEDS_DECODING {
  if (start === end) return "is empty";
  if (end - start > PATH_MAX_BYTES) return `is longer than ${PATH_MAX_BYTES} bytes`;
  let segmentStart = start;
  for (let i = start; i <= end; i++) {
    const byte = i === end ? 0x2f : (bytes[i] as number);
    if (byte >= 0x80) return NEEDS_DECODING;
    if (byte < 0x20 || byte === 0x7f)
      return byte === 0 ? "contains a NUL character" : "contains a control character";
    if (byte !== 0x2f) continue;
    const length = i - segmentStart;
    if (length === 0) return i === start ? "starts with '/'" : "contains an empty segment";
    if (length === 1 && bytes[segmentStart] === 0x2e) return "contains a '.' segment";
    if (length === 2 && bytes[segmentStart] === 0x2e && bytes[segmentStart + 1] === 0x2e)
      return "contains a '..' segment";
    segmentStart = i + 1;
  }
  return undefined;
}

/**
 * @param field what the caller called this path, for example `files[3].path`.
 * @throws `invalid_argument` naming the field, the path and the broken rule.
 */
export function checkPath(path: string, field: string): void {
  const violation = pathViolation(path);
  if (violation === undefined) return;
  throw invalidArgument(
    field,
    `${quoted(path)} ${violation}. Use a relative path of at most ${PATH_MAX_BYTES} bytes, with '/' between names.`,
    { path: path.toWellFormed().slice(0, 2 * PATH_MAX_BYTES), rule: violation, limit: PATH_MAX_BYTES },
  );
}
