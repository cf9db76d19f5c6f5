/** The hash chain over what one rank of a stream was sent: docs/formats/transcript-v1.md. */
import { canonicalJson } from "../canonical-json.ts";
import { viewOf, writeU64 } from "../bytes.ts";
import type { Blake3 } from "../ports.ts";
import { utf8 } from "../text.ts";
import { parametersJson, type StreamParameters } from "./parameters.ts";

export const TRANSCRIPT_START_CONTEXT = "cyxcloud-datastream 2026-11 transcript v1 start";
export const TRANSCRIPT_STEP_CONTEXT = "cyxcloud-datastream 2026-11 transcript v1 step";
export const FRAMED_BATCH_CONTEXT = "cyxcloud-datastream 2026-11 framed batch v1";

const HASH_BYTES = 32;

/** One segment of a receipt: a chain begins anew when any of these changes. */
export interface TranscriptStart {
  readonly parameters: StreamParameters;
  readonly epoch: number;
  readonly rank: number;
  readonly worldSize: number;
  /** Position of the epoch where batch 0 of the segment begins. */
  readonly startIndex: number;
}

/**
 * A running chain. Whoever knows the parameters, the manifest and the order computes the same heads without the
 * data, so equal heads mean that the same items were sent in the same batches.
 */
export class Transcript {
  readonly #blake3: Blake3;
  #head: Uint8Array;
  #message: Uint8Array<ArrayBuffer> = new Uint8Array(0);

  private constructor(blake3: Blake3, head: Uint8Array) {
    this.#blake3 = blake3;
    this.#head = head;
  }

  static start(start: TranscriptStart, blake3: Blake3): Transcript {
    const text = canonicalJson({
      parameters: parametersJson(start.parameters),
      epoch: start.epoch,
      rank: start.rank,
      world_size: start.worldSize,
      start_index: start.startIndex,
    });
    return new Transcript(blake3, blake3.deriveKey(TRANSCRIPT_START_CONTEXT, utf8(text)));
  }

  /** Goes on from a head that was stored. */
  static resume(head: Uint8Array, blake3: Blake3): Transcript {
    if (head.length !== HASH_BYTES) throw new RangeError("A transcript head has 32 bytes.");
    return new Transcript(blake3, head.slice());
  }

  /** 32 bytes; a later `advance` does not change the array. */
  get head(): Uint8Array {
    return this.#head;
  }

  /**
   * Appends a batch.
   * @param batchIndex counts from the start of the segment; the order of calls is not checked.
   * @param itemIndices positions in the manifest, in the order sent, repetitions included.
   * @param itemHashes the 32-byte hash of each.
   * @returns the new head.
   */
  advance(batchIndex: number, itemIndices: ArrayLike<number>, itemHashes: readonly Uint8Array[]): Uint8Array {
    const n = itemIndices.length;
    if (itemHashes.length !== n) throw new RangeError("A batch has as many item hashes as items.");
    const length = HASH_BYTES + 12 + n * (8 + HASH_BYTES);
    if (this.#message.length < length) this.#message = new Uint8Array(length);
    const message = this.#message;
    const view = viewOf(message);
    message.set(this.#head, 0);
    writeU64(view, HASH_BYTES, batchIndex);
    view.setUint32(HASH_BYTES + 8, n, true);
    for (let i = 0, at = HASH_BYTES + 12; i < n; i++, at += 8 + HASH_BYTES) {
      writeU64(view, at, itemIndices[i] as number);
      setHash(message, at + 8, itemHashes[i] as Uint8Array);
    }
    this.#head = this.#blake3.deriveKey(TRANSCRIPT_STEP_CONTEXT, message.subarray(0, length));
    return this.#head;
  }
}

/**
 * Batch hash "framed": commits to the batch's place and to each item's size and hash, at 40 bytes an item
 * instead of all its data. Needs item hashes that were checked against the data.
 */
export function framedBatchHash(
  batchIndex: number,
  sizes: ArrayLike<number>,
  itemHashes: readonly Uint8Array[],
  blake3: Blake3,
): Uint8Array {
  const n = sizes.length;
  if (itemHashes.length !== n) throw new RangeError("A batch has as many item hashes as items.");
  const message = new Uint8Array(12 + n * (8 + HASH_BYTES));
  const view = viewOf(message);
  writeU64(view, 0, batchIndex);
  view.setUint32(8, n, true);
  for (let i = 0, at = 12; i < n; i++, at += 8 + HASH_BYTES) {
    writeU64(view, at, sizes[i] as number);
    setHash(message, at + 8, itemHashes[i] as Uint8Array);
  }
  return blake3.deriveKey(FRAMED_BATCH_CONTEXT, message);
}

/** Batch hash "concatenated": BLAKE3 over the items' bytes one after the other. Says nothing of where one ends. */
export function concatenatedBatchHash(items: Iterable<Uint8Array>, blake3: Blake3): Uint8Array {
  const hasher = blake3.incremental();
  try {
    for (const item of items) hasher.update(item);
  } catch (error) {
    hasher.dispose();
    throw error;
  }
  return hasher.digest();
}

function setHash(message: Uint8Array, at: number, hash: Uint8Array): void {
  if (hash.length !== HASH_BYTES) throw new RangeError("An item hash has 32 bytes.");
  message.set(hash, at);
}
