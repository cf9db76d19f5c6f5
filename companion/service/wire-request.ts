import type { StreamOptions } from "../../client/stream/options.ts";
import type { TailPolicy as TailPolicyName } from "../../core/stream/batches.ts";
import { invalidArgument } from "../../core/errors.ts";

import { BatchHashMode, ShuffleMode, TailPolicy, type StreamBatchesRequest } from "../../proto/index.ts";

/** BLAKE3. */
const HASH_BYTES = 32;
const TAILS: Readonly<Record<number, TailPolicyName>> = {
  [TailPolicy.TAIL_SHORT]: "short",
  [TailPolicy.TAIL_DROP]: "drop_last",
  [TailPolicy.TAIL_PAD]: "pad",
};

/**
 * A request of the wire in the client's words: the same stream as at the gateway itself.
 * @throws DataStreamError `invalid_argument` naming the field; the client checks the rest.
 */
export function streamOptionsOfWire(request: StreamBatchesRequest, accessToken: string): StreamOptions {
  const { filter, streamId, processingHash, resumeBatchIndex } = request;
  const tail = TAILS[request.tail];
  if (tail === undefined) throw invalidArgument("tail", `${request.tail as number} is unknown.`);
  const startIndex = wholeOf("start_index", request.startIndex);
  const worldSize = request.worldSize === 0 ? 1 : request.worldSize;
  return {
    dataset: request.datasetId,
    accessToken,
    batchSize: request.batchSize,
    epoch: request.epoch,
    rank: request.rank,
    worldSize,
    seed: request.seed,
    shuffle: shuffleOf(request),
    block: blockOf(request),
    tail,
    maxTrustLevel: request.maxTrustLevel,
    batchHash: request.batchHashMode === BatchHashMode.BATCH_HASH_FRAMED ? "framed" : "concatenated",
    startIndex,
    ...(request.prefetchBatches > 0 && { prefetchBatches: request.prefetchBatches }),
    ...(streamId !== "" && { streamId }),
    ...(processingHash.byteLength > 0 && { processingHash: hashOf(processingHash) }),
    ...(filter !== undefined && { filter: { prefix: filter.prefix, globs: filter.globs } }),
    ...(resumeBatchIndex !== undefined && {
      position: {
        epoch: request.epoch,
        start_index: startIndex,
        batch_index: wholeOf("resume_batch_index", resumeBatchIndex),
        world_size: worldSize,
        batch_size: request.batchSize,
      },
    }),
  };
}

function shuffleOf({ shuffleMode, shuffle }: StreamBatchesRequest): false | "full" | "block" {
  switch (shuffleMode) {
    case ShuffleMode.SHUFFLE_UNSPECIFIED:
      return shuffle ? "full" : false;
    case ShuffleMode.SHUFFLE_SEQUENTIAL:
      return false;
    case ShuffleMode.SHUFFLE_FULL:
      return "full";
    case ShuffleMode.SHUFFLE_BLOCK:
      return "block";
    default:
      throw invalidArgument("shuffle_mode", `${String(shuffleMode)} is unknown.`);
  }
}

/** Zero leaves a number to the defaults. */
function blockOf({
  blockSize,
  lanes,
  blocksPerGroup,
}: StreamBatchesRequest): NonNullable<StreamOptions["block"]> {
  return {
    ...(blockSize > 0 && { blockSize }),
    ...(lanes > 0 && { lanes }),
    ...(blocksPerGroup > 0 && { blocksPerGroup }),
  };
}

function wholeOf(field: string, value: bigint): number {
  const number = Number(value);
  if (number >= 0 && Number.isSafeInteger(number)) return number;
  throw invalidArgument(field, `must be a whole number from 0 on, not ${value}.`);
}

function hashOf(bytes: Uint8Array): Uint8Array {
  if (bytes.byteLength === HASH_BYTES) return bytes;
  throw invalidArgument("processing_hash", `must have ${HASH_BYTES} bytes or none, not ${bytes.byteLength}.`);
}
