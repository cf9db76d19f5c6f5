/** Filters over dataset paths, and the frozen view that a filter selects. */
import picomatch from "picomatch/posix.js";
import { invalidArgument } from "../errors.ts";
import {
  FILTER_MAX_GLOBS,
  GLOB_MAX_CHARS,
  GLOB_MAX_DEEP_STARS,
  GLOB_MAX_STARS_PER_SEGMENT,
  PATH_MAX_BYTES,
} from "../limits.ts";
import type { Blake3 } from "../ports.ts";
import { isPlainText, quoted, utf8 } from "../text.ts";

/** Selects a path that begins with `prefix` (if given) and matches at least one of `globs` (if given). */
export interface DatasetFilter {
  readonly prefix?: string | undefined;
  /**
   * `*`, `?` and `[a-z]` match inside one segment, `**` across segments, `{a,b}` either. Everything else is
   * literal; a backslash makes the next character literal. Names that begin with a dot match like others.
   */
  readonly globs?: readonly string[] | undefined;
}

const VIEW_CONTEXT = "cyxcloud-datastream 2026-11 view v1";

/**
 * The filter as a predicate over whole paths.
 * @throws `invalid_argument` for a filter that selects by nothing, or a glob that is empty, too long, negated, or
 * has so many wildcards that a path could be made that is slow to match.
 */
export function filterPredicate(filter: DatasetFilter): (path: string) => boolean {
  const { prefix, globs } = checkFilter(filter);
  const matchers = globs?.map((glob) =>
    picomatch(literalised(glob), { dot: true, nonegate: true, noextglob: true, strictSlashes: true }),
  );
  return (path) =>
    (prefix === undefined || path.startsWith(prefix)) &&
    (matchers === undefined || matchers.some((matches) => matches(path)));
}

/** The longest text with which every selected path begins, for a range condition in SQL. May be empty. */
export function literalPrefix(filter: DatasetFilter): string {
  const { prefix = "", globs } = checkFilter(filter);
  if (globs === undefined) return prefix;
  let common: string | undefined;
  for (const glob of globs) {
    const literal = literalStart(glob);
    common = common === undefined ? literal : commonStart(common, literal);
  }
  // Paths begin with both texts, so one begins with the other or nothing is selected.
  return common !== undefined && common.length > prefix.length ? common : prefix;
}

/**
 * Hash of a view: BLAKE3 derive_key over the item indices, u32 little-endian each.
 * @param positions strictly ascending item indices.
 */
export function viewHash(positions: Uint32Array, blake3: Blake3): Uint8Array {
  const bytes = new Uint8Array(positions.length * 4);
  const view = new DataView(bytes.buffer);
  for (let i = 0; i < positions.length; i++) view.setUint32(4 * i, positions[i] as number, true);
  return blake3.deriveKey(VIEW_CONTEXT, bytes);
}

function checkFilter(filter: DatasetFilter): DatasetFilter {
  const { prefix, globs } = filter;
  if (prefix === undefined && globs === undefined)
    throw invalidArgument(
      "filter",
      "give a prefix, globs or both; leave the filter out to stream everything.",
    );
  if (prefix !== undefined && !isPlainText(prefix))
    throw invalidArgument("filter.prefix", "contains a NUL or is not valid Unicode.");
  if (prefix !== undefined && utf8(prefix).length > PATH_MAX_BYTES)
    throw invalidArgument("filter.prefix", `is longer than ${PATH_MAX_BYTES} bytes.`, {
      limit: PATH_MAX_BYTES,
    });
  if (globs !== undefined && (globs.length === 0 || globs.length > FILTER_MAX_GLOBS))
    throw invalidArgument("filter.globs", `give 1 to ${FILTER_MAX_GLOBS} globs.`, {
      limit: FILTER_MAX_GLOBS,
    });
  globs?.forEach((glob, i) => checkGlob(glob, `filter.globs[${i}]`));
  return filter;
}

/** @throws `invalid_argument` naming the field. See `filterPredicate`. */
export function checkGlob(glob: string, field: string): void {
  const refuse = (reason: string, limit?: number): Error =>
    invalidArgument(field, `${quoted(glob)} ${reason}.`, limit === undefined ? {} : { limit });
  if (glob === "" || glob.length > GLOB_MAX_CHARS)
    throw refuse(`must have 1 to ${GLOB_MAX_CHARS} characters`, GLOB_MAX_CHARS);
  if (!isPlainText(glob)) throw refuse("contains a NUL or is not valid Unicode");
  if (glob.startsWith("!")) throw refuse("is negated; only globs that select are known");
  if (glob.startsWith("/")) throw refuse("starts with '/'; paths are relative");
  const wild = glob.replace(/\\./gsu, "");
  const deep = wild.match(/\*\*+/g)?.length ?? 0;
  if (deep > GLOB_MAX_DEEP_STARS)
    throw refuse(`has more than ${GLOB_MAX_DEEP_STARS} times '**'`, GLOB_MAX_DEEP_STARS);
  for (const segment of wild.split("/")) {
    const stars = segment.match(/\*/g)?.length ?? 0;
    if (segment !== "**" && stars > GLOB_MAX_STARS_PER_SEGMENT)
      throw refuse(
        `has more than ${GLOB_MAX_STARS_PER_SEGMENT} times '*' between two '/'`,
        GLOB_MAX_STARS_PER_SEGMENT,
      );
  }
}

/**
 * Takes the meaning from the regular expression characters that picomatch passes through: with groups and
 * quantifiers a caller could write a pattern that takes exponential time.
 */
function literalised(glob: string): string {
  return glob.replace(/\\.|[()|+@^$]/gsu, (found) => (found.length > 1 ? found : `\\${found}`));
}

function literalStart(glob: string): string {
  let literal = "";
  for (let i = 0; i < glob.length; i++) {
    const character = glob[i] as string;
    if ("*?[{".includes(character)) break;
    if (character === "\\") {
      i++;
      literal += glob[i] ?? "";
    } else literal += character;
  }
  return literal.toWellFormed() === literal ? literal : literal.slice(0, -1);
}

function commonStart(left: string, right: string): string {
  let length = 0;
  while (length < left.length && length < right.length && left[length] === right[length]) length++;
  const common = left.slice(0, length);
  return common.isWellFormed() ? common : common.slice(0, -1);
}
