import { invalidArgument } from "../core/errors.ts";
import type { Blake3, Blake3Incremental } from "../core/ports.ts";
import type { KernelInstance } from "./exports.ts";
import { feed, HasherPool, ROOT } from "./hasher.ts";
import {
  CHILDREN,
  DERIVED_KEY,
  DIGEST,
  INITIAL_KEY,
  ITEM_DIGESTS,
  ITEMS,
  ITEMS_PER_CALL,
  OWN_STATE,
  STAGING,
  STAGING_BYTES,
} from "./layout.ts";

const CHUNK_BYTES = 1024;
const DIGEST_BYTES = 32;

// BLAKE3 specification, table 1 and section 2.2.
const INITIALISATION_VECTOR = [
  0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
];
const DERIVE_KEY_CONTEXT = 32;
const DERIVE_KEY_MATERIAL = 64;

/** Contexts are constants of a program; beyond this many, somebody passes data as a context. */
const CACHED_CONTEXTS = 64;

/** The core's hash port over the kernels, and the same on addresses in kernel memory. */
export class KernelBlake3 implements Blake3 {
  readonly #kernel: KernelInstance;
  readonly #hashers: HasherPool;
  readonly #contextKeys = new Map<string, Uint8Array>();

  constructor(kernel: KernelInstance) {
    this.#kernel = kernel;
    this.#hashers = new HasherPool(kernel);
    const key = new DataView(kernel.memory.buffer, INITIAL_KEY, DIGEST_BYTES);
    INITIALISATION_VECTOR.forEach((word, index) => key.setUint32(index * 4, word, true));
  }

  hash(bytes: Uint8Array): Uint8Array {
    return this.#run(bytes, INITIAL_KEY, 0, 0, ROOT);
  }

  /** Digest of `length` bytes at `pointer` in kernel memory, which are not copied. */
  hashAt(pointer: number, length: number): Uint8Array {
    this.#kernel.exports.hash(pointer, length, INITIAL_KEY, 0, 0, 0, ROOT, DIGEST);
    return this.#digest();
  }

  /** Digests of many pieces of kernel memory, one after the other in the result. */
  hashMany(pointers: ArrayLike<number>, lengths: ArrayLike<number>, into?: Uint8Array): Uint8Array {
    const count = pointers.length;
    if (lengths.length !== count) throw invalidArgument("lengths", "must be as many as pointers");
    const out = into ?? new Uint8Array(count * DIGEST_BYTES);
    if (out.byteLength < count * DIGEST_BYTES)
      throw invalidArgument("into", "must hold 32 bytes for each item");
    const items = new Uint32Array(this.#kernel.memory.buffer, ITEMS, ITEMS_PER_CALL * 2);
    for (let first = 0; first < count; first += ITEMS_PER_CALL) {
      const inCall = Math.min(ITEMS_PER_CALL, count - first);
      for (let i = 0; i < inCall; i++) {
        items[2 * i] = pointers[first + i] as number;
        items[2 * i + 1] = lengths[first + i] as number;
      }
      this.#kernel.exports.hashMany(ITEMS, inCall, INITIAL_KEY, 0, ITEM_DIGESTS);
      const digests = this.#kernel.bytes.subarray(ITEM_DIGESTS, ITEM_DIGESTS + inCall * DIGEST_BYTES);
      out.set(digests, first * DIGEST_BYTES);
    }
    return out;
  }

  deriveKey(context: string, bytes: Uint8Array): Uint8Array {
    let key = this.#contextKeys.get(context);
    if (key === undefined) {
      key = this.#run(new TextEncoder().encode(context), INITIAL_KEY, DERIVE_KEY_CONTEXT, 0, ROOT);
      if (this.#contextKeys.size >= CACHED_CONTEXTS) this.#contextKeys.clear();
      this.#contextKeys.set(context, key);
    }
    this.#kernel.bytes.set(key, DERIVED_KEY);
    return this.#run(bytes, DERIVED_KEY, DERIVE_KEY_MATERIAL, 0, ROOT);
  }

  subtree(bytes: Uint8Array, byteOffset: number): Uint8Array {
    if (!Number.isSafeInteger(byteOffset) || byteOffset < 0 || byteOffset % CHUNK_BYTES !== 0) {
      throw invalidArgument("byteOffset", `must be a multiple of ${CHUNK_BYTES}`);
    }
    const firstChunk = byteOffset / CHUNK_BYTES;
    if (firstChunk > 0 && bytes.byteLength > CHUNK_BYTES * largestPowerOfTwoIn(firstChunk)) {
      throw invalidArgument("byteOffset", "must be aligned to the length of the subtree");
    }
    return this.#run(bytes, INITIAL_KEY, 0, firstChunk, 0);
  }

  parent(left: Uint8Array, right: Uint8Array, isRoot: boolean): Uint8Array {
    if (left.byteLength !== DIGEST_BYTES)
      throw invalidArgument("left", "must be a chaining value of 32 bytes");
    if (right.byteLength !== DIGEST_BYTES)
      throw invalidArgument("right", "must be a chaining value of 32 bytes");
    this.#kernel.bytes.set(left, CHILDREN);
    this.#kernel.bytes.set(right, CHILDREN + DIGEST_BYTES);
    this.#kernel.exports.parent(CHILDREN, INITIAL_KEY, isRoot ? ROOT : 0, DIGEST);
    return this.#digest();
  }

  incremental(): Blake3Incremental {
    return this.#hashers.create();
  }

  #run(bytes: Uint8Array, key: number, flags: number, firstChunk: number, root: number): Uint8Array {
    const { exports, memory, bytes: all } = this.#kernel;
    const high = Math.floor(firstChunk / 2 ** 32);
    if (bytes.buffer === memory.buffer) {
      exports.hash(bytes.byteOffset, bytes.byteLength, key, flags, firstChunk, high, root, DIGEST);
    } else if (bytes.byteLength <= STAGING_BYTES) {
      all.set(bytes, STAGING);
      exports.hash(STAGING, bytes.byteLength, key, flags, firstChunk, high, root, DIGEST);
    } else {
      exports.stateInit(OWN_STATE, key, flags, firstChunk, high);
      feed(this.#kernel, OWN_STATE, bytes);
      exports.stateFinish(OWN_STATE, root, DIGEST);
    }
    return this.#digest();
  }

  #digest(): Uint8Array {
    return this.#kernel.bytes.slice(DIGEST, DIGEST + DIGEST_BYTES);
  }
}

function largestPowerOfTwoIn(value: number): number {
  let power = 1;
  while (value % (power * 2) === 0) power *= 2;
  return power;
}
