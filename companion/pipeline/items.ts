import type { UncheckedBatch } from "../../client/stream/checker.ts";
import { VerificationError } from "../../client/verification-error.ts";
import { toHex } from "../../core/bytes.ts";
import type { ItemResult, JobItem } from "../workers/job.ts";
import type { PipelineObserver } from "./observer.ts";

/** The items of a batch as the worker pool takes them, to be hashed. @param offsets of `messageBuffer`. */
export function jobItems({ files, indices }: UncheckedBatch, offsets: readonly number[]): JobItem[] {
  return files.map((file, i) => ({
    offset: offsets[i] as number,
    length: file.size,
    hash: file.contentHash,
    itemIndex: indices[i] as number,
    path: file.path,
  }));
}

/**
 * The manifest decides how long an item is; a message that differs brings another item.
 * @throws VerificationError
 */
export function requireSizes(batch: UncheckedBatch, observer: PipelineObserver): void {
  for (const [i, { size }] of batch.files.entries()) {
    const actual = batch.message.items[i]?.byteLength ?? 0;
    if (actual !== size) throw mismatch(batch, i, `${size} bytes`, `${actual} bytes`, observer);
  }
}

/** @throws VerificationError for the first item that is not the manifest's. */
export function requireHashes(
  batch: UncheckedBatch,
  results: readonly ItemResult[],
  observer: PipelineObserver,
): void {
  const wrong = results.findIndex((result) => !result.ok && result.reason === "hash");
  if (wrong < 0) return;
  const expected = toHex(batch.files[wrong]?.contentHash ?? new Uint8Array());
  throw mismatch(batch, wrong, expected, "bytes of another hash", observer);
}

/** Of subject "item": the batch is asked for again. */
function mismatch(
  { index, indices, files }: UncheckedBatch,
  i: number,
  expected: string,
  actual: string,
  observer: PipelineObserver,
): VerificationError {
  observer.refetched?.();
  return new VerificationError({
    subject: "item",
    expected,
    actual,
    batch: index,
    item: indices[i] as number,
    path: files[i]?.path ?? "",
  });
}
