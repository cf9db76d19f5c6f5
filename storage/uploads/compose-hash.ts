/**
 * BLAKE3 of large objects from their pieces. A piece that starts at a multiple of its (power of two) size is a
 * subtree of the hash tree, so its chaining value can be computed alone and joined later
 * (BLAKE3 specification, section 2.1: https://github.com/BLAKE3-team/BLAKE3-specs).
 */
import type { Blake3 } from "../../core/ports.ts";

const LEAF_BYTES = 1024;

export interface TreeHashes {
  /** As the whole of a file. */
  readonly root: Uint8Array;
  /** As the left-most subtree of a longer file. */
  readonly chainingValue: Uint8Array;
}

/** Both hashes of bytes that start a file, in one pass: they differ in the last compression alone. */
export function treeHashes(blake3: Blake3, bytes: Uint8Array): TreeHashes {
  if (bytes.length <= LEAF_BYTES)
    return { root: blake3.hash(bytes), chainingValue: blake3.subtree(bytes, 0) };
  const split = largestPowerOfTwoBelow(bytes.length);
  const left = blake3.subtree(bytes.subarray(0, split), 0);
  const right = blake3.subtree(bytes.subarray(split), split);
  return { root: blake3.parent(left, right, true), chainingValue: blake3.parent(left, right, false) };
}

/**
 * Joins the chaining values of consecutive pieces, of which all but the last have one size, a power of two of at
 * least 1024 bytes, into the value of their common subtree, or, as root, into the hash of the file.
 * @param values at least two where `isRoot`: a single chaining value no longer tells the root hash.
 */
export function joinSubtrees(blake3: Blake3, values: readonly Uint8Array[], isRoot: boolean): Uint8Array {
  const join = (first: number, count: number, root: boolean): Uint8Array => {
    if (count === 1) return values[first] as Uint8Array;
    const left = largestPowerOfTwoBelow(count);
    return blake3.parent(join(first, left, false), join(first + left, count - left, false), root);
  };
  if (values.length < (isRoot ? 2 : 1)) throw new RangeError("There is nothing to join.");
  return join(0, values.length, isRoot);
}

function largestPowerOfTwoBelow(value: number): number {
  let power = 1;
  while (power * 2 < value) power *= 2;
  return power;
}

/** Hashes one part of an object while its chunks pass, each of which is at a multiple of the chunk size. */
export class PartHasher {
  readonly #blake3: Blake3;
  readonly #partOffset: number;
  readonly #inPart: Uint8Array[] = [];
  readonly #inObject: Uint8Array[] = [];
  #length = 0;
  #first: Uint8Array | undefined;

  /** @param partOffset of the part in its object. */
  constructor(blake3: Blake3, partOffset: number) {
    this.#blake3 = blake3;
    this.#partOffset = partOffset;
  }

  /** @returns the hash of the chunk by itself. Two of the three roles of a chunk coincide where an offset is 0. */
  add(chunk: Uint8Array): Uint8Array {
    const { root, chainingValue } = treeHashes(this.#blake3, chunk);
    const at = this.#length;
    const inPart = at === 0 ? chainingValue : this.#blake3.subtree(chunk, at);
    this.#inPart.push(inPart);
    this.#inObject.push(this.#partOffset === 0 ? inPart : this.#blake3.subtree(chunk, this.#partOffset + at));
    this.#first ??= root;
    this.#length += chunk.length;
    return root;
  }

  /** Hash of the part by itself, and its chaining value in the object. */
  finish(): { readonly contentHash: Uint8Array; readonly chainingValue: Uint8Array } {
    if (this.#first === undefined) {
      const empty = treeHashes(this.#blake3, new Uint8Array());
      return { contentHash: empty.root, chainingValue: empty.chainingValue };
    }
    return {
      contentHash: this.#inPart.length === 1 ? this.#first : joinSubtrees(this.#blake3, this.#inPart, true),
      chainingValue: joinSubtrees(this.#blake3, this.#inObject, false),
    };
  }
}
