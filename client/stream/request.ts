import { create } from "@bufbuild/protobuf";
import {
  BatchHashMode,
  ShuffleMode,
  StreamBatchesRequestSchema,
  TailPolicy,
  type StreamBatchesRequest,
} from "../../proto/index.ts";
import type { Begin } from "./begin.ts";
import type { StreamRun } from "./run.ts";

const SHUFFLE_MODES = {
  sequential: ShuffleMode.SHUFFLE_SEQUENTIAL,
  full: ShuffleMode.SHUFFLE_FULL,
  block: ShuffleMode.SHUFFLE_BLOCK,
} as const;

const TAIL_POLICIES = {
  short: TailPolicy.TAIL_SHORT,
  drop_last: TailPolicy.TAIL_DROP,
  pad: TailPolicy.TAIL_PAD,
} as const;

const BATCH_HASH_MODES = {
  framed: BatchHashMode.BATCH_HASH_FRAMED,
  concatenated: BatchHashMode.BATCH_HASH_CONCATENATED,
} as const;

/** The message that asks for an epoch from a batch on. */
export function streamRequest(run: StreamRun, begin: Begin): StreamBatchesRequest {
  const { mode, seed, block, batchSize, tail, batchHash, filter, datasetId, processingHash } =
    run.plan.parameters;
  return create(StreamBatchesRequestSchema, {
    datasetId,
    accessToken: run.accessToken,
    batchSize,
    startIndex: BigInt(begin.startIndex),
    prefetchBatches: run.prefetchBatches,
    maxTrustLevel: run.maxTrustLevel,
    shuffle: mode === "full",
    seed: BigInt.asIntN(64, seed),
    streamId: run.streamId,
    epoch: begin.epoch,
    rank: run.rank,
    worldSize: run.worldSize,
    shuffleMode: SHUFFLE_MODES[mode],
    blockSize: block?.blockSize ?? 0,
    lanes: block?.lanes ?? 0,
    blocksPerGroup: block?.blocksPerGroup ?? 0,
    tail: TAIL_POLICIES[tail],
    batchHashMode: BATCH_HASH_MODES[batchHash],
    ...(processingHash && { processingHash }),
    ...(filter && { filter: { prefix: filter.prefix ?? "", globs: [...(filter.globs ?? [])] } }),
    ...(begin.batchIndex !== undefined && { resumeBatchIndex: BigInt(begin.batchIndex) }),
  });
}
