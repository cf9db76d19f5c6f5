/** Chaining values of a manifest's pages as a job remembers them: one entry for each part. */
import { concatBytes, equalBytes } from "../../core/bytes.ts";
import { PageTree } from "../../core/dataset/manifest-proof.ts";
import { HASH_BYTES } from "../../core/dataset/manifest-format.ts";
import { DataStreamError } from "../../core/errors.ts";
import type { Blake3 } from "../../core/ports.ts";
import type { JobStorage } from "./program.ts";

const PREFIX = "page/";

/** @param part counts from 0. */
export function pageEntry(part: number, values: Uint8Array): Record<string, Uint8Array> {
  return { [`${PREFIX}${String(part).padStart(8, "0")}`]: values };
}

/** All values in order, 32 bytes a page. */
export function savedPages(saved: Pick<JobStorage, "list">): Uint8Array {
  return concatBytes(saved.list(PREFIX).map(([, values]) => values as Uint8Array));
}

/**
 * All values, once they are known to give the content hash that storage computed on its own.
 * @throws `internal` when they do not.
 */
export function finishPages(
  saved: Pick<JobStorage, "list">,
  contentHash: Uint8Array,
  blake3: Blake3,
): Uint8Array {
  const values = savedPages(saved);
  // The only page of a manifest is hashed as a root, so its chaining value says nothing about the hash.
  if (values.length === HASH_BYTES || equalBytes(new PageTree(values, blake3).root, contentHash))
    return values;
  throw new DataStreamError("internal", "The manifest was stored with another hash than its pages give.");
}
