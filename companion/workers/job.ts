import type { Processing } from "../../core/augment/steps.ts";
import { DataStreamError } from "../../core/errors.ts";
import type { OutputFormat } from "../decode/output-format.ts";
import type { MemoryReference } from "../memory/reference.ts";

/** One batch to check and decode into a slot. */
export interface BatchJob {
  /** The message as received. */
  readonly input: SharedArrayBuffer;
  readonly items: readonly JobItem[];
  /** Where the batch's tensor goes: part of `ring`, aligned for its elements. */
  readonly output: MemoryReference;
  /** The whole ring, which a thread views once. It must stay mapped until the job is settled. */
  readonly ring: MemoryReference;
  readonly format: OutputFormat;
  readonly processing: Processing | undefined;
  readonly seed: bigint;
  readonly epoch: number;
}

export interface JobItem {
  /** Where the item's bytes are in the message. */
  readonly offset: number;
  readonly length: number;
  /** The 32 bytes of BLAKE3 that they must have; undefined for bytes that were checked already. */
  readonly hash: Uint8Array | undefined;
  /** Index in the dataset, which randomness depends on. */
  readonly itemIndex: number;
  readonly path: string;
}

/**
 * What became of an item: "hash" when its bytes are not the manifest's, "decode" when they are and are no item of this
 * tensor. The message says what is wrong, without the path.
 */
export type ItemResult =
  | { readonly ok: true }
  | { readonly ok: false; readonly reason: "hash" | "decode"; readonly message: string };

/** Bytes that the items take in the output, each: those of a tensor, or as many as they have. */
export function outputLengths({ format, items }: Pick<BatchJob, "format" | "items">): number[] {
  return items.map(({ length }) => (format.kind === "bytes" ? length : format.itemBytes));
}

/** Threads trust what they are told: everything is inside its memory, or nothing is done. */
export function checkJob(job: BatchJob, lengths: readonly number[]): void {
  const outside = job.items.some(
    ({ offset, length }) => offset < 0 || length < 0 || offset + length > job.input.byteLength,
  );
  if (outside) throw new DataStreamError("internal", "An item lies outside of its message.");
  const total = lengths.reduce((sum, length) => sum + length, 0);
  if (total > job.output.byteLength)
    throw new DataStreamError(
      "internal",
      `The batch takes ${total} bytes; its slot has ${job.output.byteLength}.`,
    );
}
