import { invalidArgument } from "../../core/errors.ts";
import { checkBatchPlan, type BatchPlan } from "../../core/stream/batches.ts";
import type { Blake3 } from "../../core/ports.ts";
import { DEFAULT_RETRY, type RetryPolicy } from "../backoff.ts";
import type { Gateway } from "../http.ts";
import { checkEpochs, checkPosition } from "./begin.ts";
import { hashingChecker, type ItemChecker } from "./checker.ts";
import type { VerifiedDataset } from "./dataset.ts";
import { streamParameters, type StreamOptions, type StreamPlan } from "./options.ts";
import { fetchSource, type BatchSource } from "./source.ts";
import type { Segment } from "./verifier.ts";

const PREFETCH_DEFAULT = 2;
const REFETCHES_DEFAULT = 2;

/** What a stream is opened with; `accessToken` opens exactly this dataset version. */
export interface StreamContext {
  readonly gateway: Gateway;
  readonly dataset: VerifiedDataset;
  readonly accessToken: string;
  readonly blake3: Blake3;
}

/** What stays the same over all epochs and requests of a stream. */
export interface StreamRun extends StreamContext {
  readonly plan: StreamPlan;
  readonly streamId: string;
  readonly rank: number;
  readonly worldSize: number;
  readonly maxTrustLevel: number;
  readonly prefetchBatches: number;
  readonly source: BatchSource;
  readonly checkItems: ItemChecker;
  readonly concurrentChecks: number;
  readonly refetches: number;
  readonly retry: RetryPolicy;
}

/** @throws `invalid_argument` for options that contradict each other, the dataset, or a limit. */
export function startRun(context: StreamContext, options: StreamOptions): StreamRun {
  const plan = streamParameters(options, context.dataset, context.blake3);
  const { batchHash } = plan.parameters;
  const { checkItems, concurrentChecks = 1, refetches = REFETCHES_DEFAULT } = options;
  if (checkItems !== undefined && batchHash !== "framed")
    throw invalidArgument(
      "batchHash",
      'must be "framed" where checkItems is given: any other is over the items\' bytes.',
    );
  checkCount("concurrentChecks", concurrentChecks, 1);
  checkCount("refetches", refetches, 0);
  const run: StreamRun = {
    ...context,
    plan,
    streamId: options.streamId ?? crypto.randomUUID(),
    rank: options.rank ?? 0,
    worldSize: options.worldSize ?? 1,
    maxTrustLevel: options.maxTrustLevel ?? 0,
    prefetchBatches: options.prefetchBatches ?? PREFETCH_DEFAULT,
    source: options.source ?? fetchSource,
    checkItems: checkItems ?? hashingChecker(context.blake3, batchHash),
    concurrentChecks,
    refetches,
    retry: options.retry ?? DEFAULT_RETRY,
  };
  checkBatchPlan(batchPlanOf(run, options.startIndex ?? 0));
  checkEpochs(options);
  if (options.position !== undefined) checkPosition(options.position, batchPlanOf(run, 0));
  return run;
}

/** The batches of this rank from a position of the epoch on. */
export function batchPlanOf({ plan, rank, worldSize }: StreamRun, start: number): BatchPlan {
  const { batchSize, tail } = plan.parameters;
  return { count: plan.count, batchSize, worldSize, rank, start, tail };
}

export function segmentOf(run: StreamRun, epoch: number, startIndex: number): Segment {
  return {
    parameters: run.plan.parameters,
    epoch,
    plan: batchPlanOf(run, startIndex),
    order: run.plan.orderOf(epoch),
    streamId: run.streamId,
  };
}

function checkCount(field: string, value: number, limit: number): void {
  if (Number.isSafeInteger(value) && value >= limit) return;
  throw invalidArgument(field, `must be a whole number of at least ${limit}, not ${value}.`, { limit });
}
