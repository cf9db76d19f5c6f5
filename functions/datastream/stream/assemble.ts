/** One batch, from storage into one message. */
import type { Kernels } from "../../../kernels/index.ts";
import type { BatchHashMode } from "../../../core/stream/parameters.ts";
import { concatenatedBatchHash, framedBatchHash } from "../../../core/stream/transcript.ts";
import type { ItemWindow } from "../../../storage/item-window.ts";
import { BatchMessage } from "./message.ts";
import type { PlannedBatch, Windows } from "./windows.ts";

/** What is the same in every message of a response. */
export interface StreamIdentity {
  /** UTF-8. */
  readonly streamId: Uint8Array;
  readonly batchHash: BatchHashMode;
}

/** The message's layout, before any item is there. */
export function layoutBatch(batch: PlannedBatch, windows: Windows, identity: StreamIdentity): BatchMessage {
  const { segment, lease, total } = windows;
  return new BatchMessage({
    batchIndex: batch.index,
    sizes: batch.items.map(({ size }) => size),
    itemHashes: batch.items.map(({ contentHash }) => contentHash),
    itemIndices: batch.items.map(({ index }) => index),
    totalBatches: total,
    isLast: batch.index === total - 1,
    streamId: identity.streamId,
    epoch: segment.epoch,
    paddedItems: batch.padded,
    lease,
    startIndex: segment.startIndex,
    worldSize: segment.worldSize,
  });
}

/**
 * Fills `slot` (`message.byteLength` bytes) with the finished message. No byte of it may go out before this resolves.
 * @param first number of the batch's first item in `reader`.
 * @throws what `ItemWindow.fill` throws; the slot then holds anything.
 */
export async function assembleBatch(
  kernels: Kernels,
  reader: ItemWindow,
  first: number,
  message: BatchMessage,
  slot: Uint8Array,
  head: Uint8Array,
  batchHash: BatchHashMode,
): Promise<void> {
  const { sizes, itemHashes, batchIndex } = message.fields;
  const views = sizes.map((_, i) => message.itemView(slot, i));
  await reader.fill(first, views);
  const { blake3 } = kernels;
  const hash =
    batchHash === "framed"
      ? framedBatchHash(batchIndex, sizes, itemHashes, blake3)
      : itemHashes.length === 1
        ? (itemHashes[0] as Uint8Array) // one item concatenated is that item
        : concatenatedBatchHash(views, blake3);
  message.write(slot, hash, head);
}
