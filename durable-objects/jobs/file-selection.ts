/** Which stored objects become the files of a dataset, and what their paths are. Pure. */
import { checkGlob, filterPredicate, literalPrefix } from "../../core/dataset/filter.ts";
import { invalidArgument } from "../../core/errors.ts";
import { DATASET_MAX_GLOBS } from "../../core/limits.ts";
import { quoted } from "../../core/text.ts";

/** One `bucket/glob` of a request. */
export interface FileGlob {
  /** As it was given. */
  readonly text: string;
  readonly bucket: string;
  /** Over whole keys. */
  readonly glob: string;
  /** Every key that it matches begins with this. */
  readonly keyPrefix: string;
}

/**
 * Reads `bucket/glob` texts.
 * @throws `invalid_argument` naming the text by its place in the list, as `files[2]`.
 */
export function parseFileGlobs(texts: readonly string[]): FileGlob[] {
  if (texts.length === 0 || texts.length > DATASET_MAX_GLOBS)
    throw invalidArgument("files", `give 1 to ${DATASET_MAX_GLOBS} of the form "bucket/glob".`, {
      limit: DATASET_MAX_GLOBS,
    });
  return texts.map((text, i) => {
    const field = `files[${i}]`;
    const slash = text.indexOf("/");
    const bucket = text.slice(0, Math.max(0, slash));
    if (!/^[a-z0-9][a-z0-9.-]*$/.test(bucket))
      throw invalidArgument(
        field,
        `${quoted(text)} does not begin with a bucket. Write "bucket/glob", as in "photos/train/**/*.jpg".`,
      );
    const glob = text.slice(slash + 1);
    checkGlob(glob, field);
    if (glob.split("/").some((segment) => segment === "" || segment === "." || segment === ".."))
      throw invalidArgument(
        field,
        `${quoted(text)} has an empty segment, "." or "..", which no key has. For a whole folder write "folder/**".`,
      );
    return { text, bucket, glob, keyPrefix: literalPrefix({ globs: [glob] }) };
  });
}

/**
 * What is cut off every key to make its path: the longest folder that the literal beginnings of all globs share.
 * So `photos/train/**` gives `cat/1.jpg`, and together with `photos/test/**` it gives `train/cat/1.jpg`.
 * Cutting the same off everywhere keeps the order of keys as the order of paths.
 */
export function commonFolder(globs: readonly FileGlob[]): string {
  const folders = globs.map(({ keyPrefix }) => keyPrefix.slice(0, keyPrefix.lastIndexOf("/") + 1));
  const [first = "", ...rest] = folders;
  const segments = first.split("/").slice(0, -1);
  let folder = first;
  while (!rest.every((other) => other.startsWith(folder))) {
    segments.pop();
    folder = segments.map((segment) => `${segment}/`).join("");
  }
  return folder;
}

/** Keys of one bucket to look at, and the globs that choose among them. */
export interface KeyScan {
  readonly bucket: string;
  readonly prefix: string;
  /** Positions in the list of globs. */
  readonly globs: readonly number[];
}

/** The fewest scans that see every key that a glob can match, none of them twice. */
export function planScans(globs: readonly FileGlob[]): KeyScan[] {
  const scans: { bucket: string; prefix: string; globs: number[] }[] = [];
  const byPrefix = globs
    .map((glob, index) => ({ ...glob, index }))
    .toSorted((a, b) => a.keyPrefix.length - b.keyPrefix.length);
  for (const { bucket, keyPrefix, index } of byPrefix) {
    const wider = scans.find((scan) => scan.bucket === bucket && keyPrefix.startsWith(scan.prefix));
    if (wider === undefined) scans.push({ bucket, prefix: keyPrefix, globs: [index] });
    else wider.globs.push(index);
  }
  return scans;
}

/** For each glob a predicate over whole keys. */
export function compileGlobs(globs: readonly FileGlob[]): ((key: string) => boolean)[] {
  return globs.map(({ glob }) => filterPredicate({ globs: [glob] }));
}
