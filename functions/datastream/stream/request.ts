/** What a StreamBatches request asks for, with every field inside its own limits. */
import { filterPredicate, type DatasetFilter } from "../../../core/dataset/filter.ts";
import { invalidArgument } from "../../../core/errors.ts";
import { STREAM_ID_MAX_CHARS } from "../../../core/limits.ts";
import type { TailPolicy } from "../../../core/stream/batches.ts";
import type { BlockShape } from "../../../core/stream/block-shape.ts";
import type { OrderMode } from "../../../core/stream/order.ts";
import type { BatchHashMode } from "../../../core/stream/parameters.ts";
import {
  BatchHashMode as WireBatchHash,
  ShuffleMode,
  type StreamBatchesRequest,
  TailPolicy as WireTail,
} from "../../../proto/index.ts";

const HASH_BYTES = 32;

export interface StreamRequest {
  readonly datasetRef: string;
  readonly token: string;
  readonly maxTrustLevel: number;
  /** Empty: a fresh stream. */
  readonly streamId: string;
  readonly mode: OrderMode;
  readonly seed: bigint;
  /** What the caller said of the block shape; used when the mode is "block". */
  readonly block: { readonly [K in keyof BlockShape]: number | undefined };
  readonly batchSize: number;
  readonly tail: TailPolicy;
  readonly filter: DatasetFilter | undefined;
  readonly batchHash: BatchHashMode;
  /** 32 bytes. */
  readonly processingHash: Uint8Array | undefined;
  readonly epoch: number;
  readonly rank: number;
  readonly worldSize: number;
  readonly startIndex: number;
  readonly resumeBatch: number | undefined;
}

/**
 * @param bearer the token of the `Authorization` header, used where the message has none.
 * @throws `invalid_argument` naming the field; what depends on the dataset is checked in plan.ts.
 */
export function parseStreamRequest(message: StreamBatchesRequest, bearer: string): StreamRequest {
  const mode = shuffleMode(message);
  const { streamId } = message;
  checkStreamId(streamId);
  if (message.prefetchBatches < 0)
    throw invalidArgument("prefetch_batches", "must not be negative; 0 leaves it to the gateway.", {
      limit: 0,
    });
  if (message.batchSize <= 0)
    throw invalidArgument("batch_size", `must be at least 1, not ${message.batchSize}.`, { limit: 1 });
  return {
    datasetRef: message.datasetId,
    token: message.accessToken === "" ? bearer : message.accessToken,
    maxTrustLevel: message.maxTrustLevel,
    streamId,
    mode,
    seed: message.seed,
    block: blockFields(message, mode),
    batchSize: message.batchSize,
    tail: tailPolicy(message.tail),
    filter: parseFilter(message),
    batchHash: batchHashMode(message.batchHashMode),
    processingHash: processingHash(message.processingHash),
    epoch: message.epoch,
    rank: message.rank,
    worldSize: message.worldSize === 0 ? 1 : message.worldSize,
    startIndex: wholeNumber("start_index", message.startIndex),
    resumeBatch:
      message.resumeBatchIndex === undefined
        ? undefined
        : wholeNumber("resume_batch_index", message.resumeBatchIndex),
  };
}

/** @throws `invalid_argument` */
export function checkStreamId(streamId: string): void {
  // oxlint-disable-next-line no-control-regex -- these are what is refused
  if (streamId.length > STREAM_ID_MAX_CHARS || /[\0-\x1f\x7f]/.test(streamId) || !streamId.isWellFormed())
    throw invalidArgument(
      "stream_id",
      `must have at most ${STREAM_ID_MAX_CHARS} characters and no control characters.`,
      { limit: STREAM_ID_MAX_CHARS },
    );
}

/** A 64-bit integer of the wire as a number. */
export function wholeNumber(field: string, value: bigint): number {
  if (value >= 0n && value <= BigInt(Number.MAX_SAFE_INTEGER)) return Number(value);
  throw invalidArgument(field, `must be a whole number from 0 to ${Number.MAX_SAFE_INTEGER}, not ${value}.`, {
    limit: Number.MAX_SAFE_INTEGER,
  });
}

function shuffleMode(message: StreamBatchesRequest): OrderMode {
  switch (message.shuffleMode) {
    case ShuffleMode.SHUFFLE_UNSPECIFIED:
      return message.shuffle ? "full" : "sequential";
    case ShuffleMode.SHUFFLE_SEQUENTIAL:
      if (message.shuffle)
        throw invalidArgument("shuffle", "contradicts shuffle_mode SHUFFLE_SEQUENTIAL; set one of them.");
      return "sequential";
    case ShuffleMode.SHUFFLE_FULL:
      return "full";
    case ShuffleMode.SHUFFLE_BLOCK:
      return "block";
    default:
      throw unknown(
        "shuffle_mode",
        message.shuffleMode,
        "SHUFFLE_SEQUENTIAL, SHUFFLE_FULL and SHUFFLE_BLOCK",
      );
  }
}

function tailPolicy(value: WireTail): TailPolicy {
  switch (value) {
    case WireTail.TAIL_SHORT:
      return "short";
    case WireTail.TAIL_DROP:
      return "drop_last";
    case WireTail.TAIL_PAD:
      return "pad";
    default:
      throw unknown("tail", value, "TAIL_SHORT, TAIL_DROP and TAIL_PAD");
  }
}

function batchHashMode(value: WireBatchHash): BatchHashMode {
  switch (value) {
    case WireBatchHash.BATCH_HASH_CONCATENATED:
      return "concatenated";
    case WireBatchHash.BATCH_HASH_FRAMED:
      return "framed";
    default:
      throw unknown("batch_hash_mode", value, "BATCH_HASH_CONCATENATED and BATCH_HASH_FRAMED");
  }
}

/** Kept as it is: the gateway processes nothing. */
function processingHash(value: Uint8Array): Uint8Array | undefined {
  if (value.length === 0) return undefined;
  if (value.length === HASH_BYTES) return value;
  throw invalidArgument(
    "processing_hash",
    `must be empty or have ${HASH_BYTES} bytes, not ${value.length}.`,
    {
      limit: HASH_BYTES,
    },
  );
}

function blockFields(message: StreamBatchesRequest, mode: OrderMode): StreamRequest["block"] {
  const given = {
    block_size: message.blockSize,
    lanes: message.lanes,
    blocks_per_group: message.blocksPerGroup,
  };
  for (const [field, value] of Object.entries(given))
    if (value !== 0 && mode !== "block")
      throw invalidArgument(field, "is for shuffle_mode SHUFFLE_BLOCK alone; leave it 0.", { limit: 0 });
  return {
    blockSize: message.blockSize || undefined,
    lanes: message.lanes || undefined,
    blocksPerGroup: message.blocksPerGroup || undefined,
  };
}

/** An empty filter is none. */
function parseFilter({ filter }: StreamBatchesRequest): DatasetFilter | undefined {
  if (filter === undefined || (filter.prefix === "" && filter.globs.length === 0)) return undefined;
  const parsed: DatasetFilter = {
    ...(filter.prefix !== "" && { prefix: filter.prefix }),
    ...(filter.globs.length > 0 && { globs: filter.globs }),
  };
  filterPredicate(parsed);
  return parsed;
}

function unknown(field: string, value: number, known: string): Error {
  return invalidArgument(field, `has no value ${value}; known are ${known}.`, { limit: known });
}
