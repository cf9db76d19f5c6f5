/**
 * Proofs that one page of a manifest belongs to its content hash, without the rest of the manifest.
 *
 * A page is 64 KiB (64 BLAKE3 chunks) at an aligned offset; only the last may be shorter. In the BLAKE3
 * tree (https://github.com/BLAKE3-team/BLAKE3-specs, section 2.1: the left subtree is the largest power of
 * two of chunks strictly below the whole) such pages are whole subtrees. Joining neighbours level by level
 * and carrying an odd last node upwards gives that same tree, so a proof is the list of sibling chaining
 * values from the page up to the root: 32 bytes for each of at most log2(pages) levels.
 */
import { equalBytes } from "../bytes.ts";
import { DataStreamError } from "../errors.ts";
import type { Blake3 } from "../ports.ts";
import { HASH_BYTES } from "./manifest-format.ts";

export const MANIFEST_PAGE_BYTES: number = 64 * 1024;

/** Pages of a manifest of `totalBytes`. */
export function pageCount(totalBytes: number): number {
  return Math.ceil(totalBytes / MANIFEST_PAGE_BYTES);
}

/** Bytes of page `pageIndex`. */
export function pageLength(totalBytes: number, pageIndex: number): number {
  return Math.min(MANIFEST_PAGE_BYTES, totalBytes - pageIndex * MANIFEST_PAGE_BYTES);
}

/** What hashing a manifest yields: its content hash and the chaining value of each page, 32 bytes each. */
export interface PageHashes {
  readonly contentHash: Uint8Array;
  /** `pages × 32` bytes. Store them beside the manifest: every proof can be made from them alone. */
  readonly pageValues: Uint8Array;
}

/** Hashes a manifest that comes in pieces of any length, in one pass and with one page of memory. */
export class PageHasher {
  readonly #blake3: Blake3;
  readonly #page: Uint8Array = new Uint8Array(MANIFEST_PAGE_BYTES);
  readonly #values: Uint8Array[] = [];
  #used = 0;

  constructor(blake3: Blake3) {
    this.#blake3 = blake3;
  }

  update(bytes: Uint8Array): void {
    let rest = bytes;
    while (rest.length > 0) {
      // A full page is hashed only when more follows: a lone page is the root and is hashed as such.
      if (this.#used === MANIFEST_PAGE_BYTES) this.#closePage();
      const head = rest.subarray(0, MANIFEST_PAGE_BYTES - this.#used);
      this.#page.set(head, this.#used);
      this.#used += head.length;
      rest = rest.subarray(head.length);
    }
  }

  finish(): PageHashes {
    const last = this.#page.subarray(0, this.#used);
    const lone = this.#values.length === 0 ? this.#blake3.hash(last) : undefined;
    this.#closePage();
    const pageValues = new Uint8Array(this.#values.length * HASH_BYTES);
    this.#values.forEach((value, i) => pageValues.set(value, i * HASH_BYTES));
    return { contentHash: lone ?? new PageTree(pageValues, this.#blake3).root, pageValues };
  }

  #closePage(): void {
    const offset = this.#values.length * MANIFEST_PAGE_BYTES;
    this.#values.push(this.#blake3.subtree(this.#page.subarray(0, this.#used), offset));
    this.#used = 0;
  }
}

/** Content hash and page values of a manifest in memory. */
export function hashPages(manifest: Uint8Array, blake3: Blake3): PageHashes {
  const hasher = new PageHasher(blake3);
  hasher.update(manifest);
  return hasher.finish();
}

/** All inner nodes over the page values, for making many proofs: 64 bytes a page in memory. */
export class PageTree {
  readonly #levels: Uint8Array[];
  /** BLAKE3 of the whole manifest. Meaningless for a single page, whose hash is not made of page values. */
  readonly root: Uint8Array;

  /** @param pageValues the chaining values of all pages in order, 32 bytes each; at least one. */
  constructor(pageValues: Uint8Array, blake3: Blake3) {
    if (pageValues.length === 0 || pageValues.length % HASH_BYTES !== 0)
      throw new RangeError("Page values are 32 bytes for each of at least one page.");
    this.#levels = [pageValues];
    let level = pageValues;
    while (level.length > HASH_BYTES) {
      const width = level.length / HASH_BYTES;
      const above = new Uint8Array(Math.ceil(width / 2) * HASH_BYTES);
      for (let i = 0; i < width; i += 2) {
        const left = nodeOf(level, i);
        above.set(
          i + 1 === width ? left : blake3.parent(left, nodeOf(level, i + 1), width === 2),
          (i / 2) * HASH_BYTES,
        );
      }
      this.#levels.push(above);
      level = above;
    }
    this.root = level;
  }

  /** Sibling chaining values from the page upwards, 32 bytes each; empty for a manifest of one page. */
  proof(pageIndex: number): Uint8Array {
    const pages = (this.#levels[0] as Uint8Array).length / HASH_BYTES;
    if (!Number.isInteger(pageIndex) || pageIndex < 0 || pageIndex >= pages)
      throw new RangeError(`The manifest has ${pages} pages; there is no page ${pageIndex}.`);
    const siblings: Uint8Array[] = [];
    let index = pageIndex;
    for (const level of this.#levels) {
      const sibling = index ^ 1;
      if (level.length > HASH_BYTES && sibling < level.length / HASH_BYTES)
        siblings.push(nodeOf(level, sibling));
      index = Math.floor(index / 2);
    }
    const proof = new Uint8Array(siblings.length * HASH_BYTES);
    siblings.forEach((sibling, i) => proof.set(sibling, i * HASH_BYTES));
    return proof;
  }
}

/** One proof from the page values; for many, keep a `PageTree`. */
export function pageProof(pageValues: Uint8Array, pageIndex: number, blake3: Blake3): Uint8Array {
  return new PageTree(pageValues, blake3).proof(pageIndex);
}

export interface PageClaim {
  readonly contentHash: Uint8Array;
  /** Length of the whole manifest as the sender states it. */
  readonly totalBytes: number;
  readonly pageIndex: number;
  readonly pageBytes: Uint8Array;
  readonly proof: Uint8Array;
}

/**
 * Checks that `pageBytes` stand at `pageIndex` of the manifest with that content hash.
 *
 * Not proven for a page other than the last: the exact `totalBytes`, since lengths that give the same tree
 * above the page prove alike. `ManifestPages` takes the length from the proven header instead.
 * @throws `data_loss` naming the page.
 */
export function verifyPage(claim: PageClaim, blake3: Blake3): void {
  const { contentHash, totalBytes, pageIndex, pageBytes, proof } = claim;
  const refuse = (what: string): DataStreamError =>
    new DataStreamError("data_loss", `Page ${pageIndex} of the manifest ${what}.`, {
      details: { part: "manifest", page: pageIndex },
    });
  if (!Number.isSafeInteger(totalBytes) || totalBytes <= 0) throw refuse("has no valid total length");
  const pages = pageCount(totalBytes);
  if (!Number.isInteger(pageIndex) || pageIndex < 0 || pageIndex >= pages) throw refuse("is past the end");
  if (pageBytes.length !== pageLength(totalBytes, pageIndex)) throw refuse("has the wrong length");
  if (proof.length % HASH_BYTES !== 0) throw refuse("has a malformed proof");

  let node =
    pages === 1 ? blake3.hash(pageBytes) : blake3.subtree(pageBytes, pageIndex * MANIFEST_PAGE_BYTES);
  let used = 0;
  let index = pageIndex;
  for (let width = pages; width > 1; width = Math.ceil(width / 2)) {
    if ((index ^ 1) < width) {
      if (used === proof.length) throw refuse("has too short a proof");
      const sibling = proof.subarray(used, used + HASH_BYTES);
      used += HASH_BYTES;
      const isRoot = width === 2;
      node = index % 2 === 0 ? blake3.parent(node, sibling, isRoot) : blake3.parent(sibling, node, isRoot);
    }
    index = Math.floor(index / 2);
  }
  if (used !== proof.length) throw refuse("has too long a proof");
  if (!equalBytes(node, contentHash)) throw refuse("does not belong to the dataset's content hash");
}

function nodeOf(level: Uint8Array, index: number): Uint8Array {
  return level.subarray(index * HASH_BYTES, (index + 1) * HASH_BYTES);
}
