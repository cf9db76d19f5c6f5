import { equalBytes } from "../../core/bytes.ts";
import type { ManifestFile } from "../../core/dataset/manifest.ts";
import type { Blake3 } from "../../core/ports.ts";
import type { BatchHashMode } from "../../core/stream/parameters.ts";
import { concatenatedBatchHash } from "../../core/stream/transcript.ts";
import type { BatchResponse } from "../../proto/index.ts";
import { requireHash } from "../verification-error.ts";

/** A batch of which everything is right but the items' bytes, which nobody looked at yet. */
export interface UncheckedBatch {
  readonly message: BatchResponse;
  readonly epoch: number;
  readonly index: number;
  /** Index of each item in the manifest. */
  readonly indices: readonly number[];
  /** The manifest's entry of each item; `contentHash` is the BLAKE3 that `message.items` must have. */
  readonly files: readonly ManifestFile[];
  /** How many items at the end repeat earlier ones. */
  readonly paddedItems: number;
}

/**
 * Compares the bytes of a batch's items with the hashes of their files. May read ahead of the consumer: a checked batch
 * is not always delivered.
 * @throws VerificationError of subject "item": the batch is asked for again. Anything else ends the stream.
 */
export type ItemChecker = (batch: UncheckedBatch) => Promise<void>;

/** Hashes on this thread. */
export function hashingChecker(blake3: Blake3, batchHash: BatchHashMode): ItemChecker {
  return async ({ message, index, indices, files }) => {
    for (const [i, { contentHash, path }] of files.entries()) {
      const actual = blake3.hash(message.items[i] as Uint8Array);
      if (equalBytes(contentHash, actual)) continue;
      requireHash("item", contentHash, actual, { batch: index, item: indices[i] as number, path });
    }
    if (batchHash === "framed") return;
    const own = concatenatedBatchHash(message.items, blake3);
    requireHash("batch hash", own, message.batchHash, { batch: index });
  };
}
