import { create, toBinary } from "@bufbuild/protobuf";
import type { Segment as StreamSegment } from "../../client/stream/verifier.ts";
import type { ManifestFile } from "../../core/dataset/manifest.ts";
import type { Blake3 } from "../../core/ports.ts";
import { batchPositions, totalBatches } from "../../core/stream/batches.ts";
import { framedBatchHash } from "../../core/stream/transcript.ts";
import { BatchResponseSchema } from "../../proto/index.ts";

/** What a batch holds, by the client's own manifest and order. */
export interface PlannedBatch {
  readonly index: number;
  readonly indices: readonly number[];
  readonly files: readonly ManifestFile[];
  readonly padded: number;
}

export async function planBatch(
  segment: StreamSegment,
  index: number,
  filesOf: (indices: readonly number[]) => Promise<readonly ManifestFile[]>,
): Promise<PlannedBatch> {
  const { positions, padded } = batchPositions(segment.plan, index);
  const indices = positions.map((position) => segment.order.itemAt(position));
  return { index, indices, files: await filesOf(indices), padded };
}

/** A serialised BatchResponse but for the bytes of its items. */
export interface MessageLayout {
  readonly byteLength: number;
  /** Writes all else. */
  write(into: Uint8Array): void;
  /** Where the bytes of each item belong. */
  readonly itemOffsets: readonly number[];
}

/** Field 2, length-delimited. */
const ITEMS_TAG = 0x12;

/**
 * The message that the gateway would send, without what only the gateway knows: the head of its transcript, and the lease.
 * @param segment with framed batch hashes.
 */
export function layOut(segment: StreamSegment, batch: PlannedBatch, blake3: Blake3): MessageLayout {
  const { plan, epoch, streamId } = segment;
  const hashes = batch.files.map(({ contentHash }) => contentHash);
  const sizes = batch.files.map(({ size }) => size);
  const total = totalBatches(plan);
  const head = toBinary(
    BatchResponseSchema,
    create(BatchResponseSchema, {
      batchIndex: BigInt(batch.index),
      itemHashes: hashes,
      batchHash: framedBatchHash(batch.index, sizes, hashes, blake3),
      totalBatches: BigInt(total),
      isLast: batch.index === total - 1,
      itemIndices: batch.indices.map(BigInt),
      streamId,
      epoch,
      paddedItems: batch.padded,
      startIndex: BigInt(plan.start),
      worldSize: plan.worldSize,
    }),
  );
  const itemOffsets: number[] = [];
  let end = head.byteLength;
  for (const size of sizes) {
    itemOffsets.push(end + 1 + varintBytes(size));
    end += 1 + varintBytes(size) + size;
  }
  return {
    byteLength: end,
    itemOffsets,
    write(into) {
      into.set(head);
      let at = head.byteLength;
      for (const size of sizes) {
        into[at] = ITEMS_TAG;
        at = writeVarint(into, at + 1, size) + size;
      }
    },
  };
}

function varintBytes(value: number): number {
  let bytes = 1;
  for (let left = value; left >= 0x80; left = Math.floor(left / 0x80)) bytes++;
  return bytes;
}

function writeVarint(into: Uint8Array, offset: number, value: number): number {
  let at = offset;
  let left = value;
  for (; left >= 0x80; left = Math.floor(left / 0x80)) into[at++] = (left % 0x80) | 0x80;
  into[at++] = left;
  return at;
}
