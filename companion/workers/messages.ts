/** What pool and threads say to each other. */
import type { Processing } from "../../core/augment/steps.ts";
import type { OutputFormat } from "../decode/output-format.ts";
import type { MemoryReference } from "../memory/reference.ts";
import type { BatchJob, ItemResult } from "./job.ts";

/** Numbers of one item in `Piece.items`. */
export const ITEM_FIELDS = 5;
const HASH_BYTES = 32;

/** Some consecutive items of a job. Packed: an object for each item would cost more to send than some items to decode. */
export interface Piece {
  readonly input: SharedArrayBuffer;
  readonly ring: MemoryReference;
  readonly output: MemoryReference;
  /** JSON of a Plan, which a thread reads once. */
  readonly plan: string;
  readonly seed: bigint;
  readonly epoch: number;
  /** Of each item: offset and length in the input, index in the dataset, offset and length in the output. */
  readonly items: Float64Array;
  /** 32 bytes of each item, and whether they count. */
  readonly hashes: Uint8Array;
  readonly hashed: Uint8Array;
  readonly paths: readonly string[];
}

export interface Plan {
  readonly format: OutputFormat;
  readonly processing?: Processing;
}

/** How far a thread is, in memory that it shares with the pool: items begun, and which of its piece is the latest. */
export interface ThreadData {
  readonly progress: Int32Array<SharedArrayBuffer>;
}

export const PROGRESS_BYTES: number = 2 * Int32Array.BYTES_PER_ELEMENT;

export interface PieceMessage {
  readonly id: number;
  readonly piece: Piece;
}

/** The results of the items that failed, by their place in the piece. */
export type PieceFailures = readonly (readonly [index: number, result: ItemResult & { ok: false }])[];

export interface PieceAnswer {
  readonly id: number;
  readonly failures: PieceFailures;
}

export function planOf({ format, processing }: BatchJob): string {
  return JSON.stringify({ format, processing } satisfies { format: unknown; processing: unknown });
}

/** The items of a job from `first` to before `end`. */
export function pieceOf(
  job: BatchJob,
  plan: string,
  lengths: readonly number[],
  first: number,
  end: number,
): Piece {
  const { input, ring, output, seed, epoch } = job;
  const chosen = job.items.slice(first, end);
  const items = new Float64Array(chosen.length * ITEM_FIELDS);
  const hashes = new Uint8Array(chosen.length * HASH_BYTES);
  const hashed = new Uint8Array(chosen.length);
  let place = lengths.slice(0, first).reduce((sum, length) => sum + length, 0);
  for (const [i, { offset, length, hash, itemIndex }] of chosen.entries()) {
    const size = lengths[first + i] as number;
    items.set([offset, length, itemIndex, place, size], i * ITEM_FIELDS);
    place += size;
    if (hash === undefined) continue;
    hashes.set(hash, i * HASH_BYTES);
    hashed[i] = 1;
  }
  const paths = chosen.map(({ path }) => path);
  return { input, ring, output, plan, seed, epoch, items, hashes, hashed, paths };
}
