/**
 * How positions of an epoch become batches of ranks. The order never depends on the world size: global batch g
 * covers positions start + g·b·w to start + (g+1)·b·w, and rank r takes every w-th of them, beginning with
 * the r-th. Batch indices count from the start.
 */
import { invalidArgument } from "../errors.ts";
import { BATCH_MAX_ITEMS, WORLD_SIZE_MAX } from "../limits.ts";

/**
 * What happens at the end of an epoch when the items do not fill every rank's batch:
 * - `short`: each rank gets what is left for it. Ranks may differ by one item, and so by one batch.
 * - `drop_last`: only global batches that are full for all ranks; the remaining items are not sent.
 * - `pad`: the last batches are filled by repeating items from the first position of the epoch on, and say how
 *   many of their last items are repetitions. Every item is sent at least once.
 *
 * With `drop_last` and `pad` all ranks have the same number of batches, all of them full.
 */
export type TailPolicy = "short" | "drop_last" | "pad";

export interface BatchPlan {
  /** Positions of the epoch. */
  readonly count: number;
  /** Items of one rank's batch. */
  readonly batchSize: number;
  readonly worldSize: number;
  readonly rank: number;
  /** Position of the epoch where batch 0 begins, the same for all ranks. */
  readonly start: number;
  readonly tail: TailPolicy;
}

export interface BatchPositions {
  /** Ascending except for repetitions, which are the last ones. */
  readonly positions: number[];
  /** How many of the last positions are repetitions. */
  readonly padded: number;
}

/**
 * Checks a plan that a caller asks for. A start equal to `count` is a plan of no batches: what is left after the last
 * one. A request that names a start itself goes through `checkStartIndex`, too.
 * @throws `invalid_argument` naming the field and its limit.
 */
export function checkBatchPlan(plan: BatchPlan): void {
  checkWhole("batch_size", plan.batchSize, 1, BATCH_MAX_ITEMS);
  checkWhole("world_size", plan.worldSize, 1, WORLD_SIZE_MAX);
  if (!Number.isInteger(plan.rank) || plan.rank < 0 || plan.rank >= plan.worldSize)
    throw invalidArgument(
      "rank",
      `must be from 0 to ${plan.worldSize - 1} for world_size ${plan.worldSize}, not ${plan.rank}.`,
      { limit: plan.worldSize - 1 },
    );
  checkWhole("start_index", plan.start, 0, plan.count);
  if (plan.tail !== "short" && plan.tail !== "drop_last" && plan.tail !== "pad")
    throw invalidArgument("tail", `must be one of short, drop_last and pad, not ${String(plan.tail)}.`);
}

/**
 * @param start the first position that a request asks for.
 * @throws `invalid_argument` unless it is a position of the epoch.
 */
export function checkStartIndex(start: number, count: number): void {
  if (Number.isSafeInteger(start) && start >= 0 && start < count) return;
  if (start === 0) throw invalidArgument("start_index", "there are no items to stream.", { limit: 0 });
  throw invalidArgument(
    "start_index",
    start >= count
      ? `${start} is past the end: there are ${count} items, so the last position is ${count - 1}.`
      : `must be a whole number from 0 to ${count - 1}, not ${start}.`,
    { limit: count - 1 },
  );
}

/** Batches that this rank receives from the plan's start to the end of the epoch. */
export function totalBatches(plan: BatchPlan): number {
  const remaining = plan.count - plan.start;
  const perGlobalBatch = plan.batchSize * plan.worldSize;
  switch (plan.tail) {
    case "drop_last":
      return Math.floor(remaining / perGlobalBatch);
    case "pad":
      return Math.ceil(remaining / perGlobalBatch);
    case "short":
      return Math.ceil(Math.ceil(Math.max(0, remaining - plan.rank) / plan.worldSize) / plan.batchSize);
  }
}

/**
 * Positions of this rank's batch `index`, in the order they are sent.
 * @throws RangeError when the plan has no such batch.
 */
export function batchPositions(plan: BatchPlan, index: number): BatchPositions {
  const total = totalBatches(plan);
  if (!Number.isInteger(index) || index < 0 || index >= total)
    throw new RangeError(`The plan has ${total} batches; there is no batch ${index}.`);
  const first = plan.start + index * plan.batchSize * plan.worldSize + plan.rank;
  const positions: number[] = [];
  let padded = 0;
  for (let i = 0; i < plan.batchSize; i++) {
    const position = first + i * plan.worldSize;
    if (position < plan.count) positions.push(position);
    else if (plan.tail === "pad") {
      positions.push(position % plan.count);
      padded++;
    } else break;
  }
  return { positions, padded };
}

/**
 * The position at which a stream goes on when all ranks have finished global batch `index`: the `start` of a
 * plan whose batch 0 is this plan's batch `index + 1`, whatever its world size.
 */
export function positionAfter(plan: BatchPlan, index: number): number {
  return Math.min(plan.count, plan.start + (index + 1) * plan.batchSize * plan.worldSize);
}

function checkWhole(field: string, value: number, least: number, most: number): void {
  if (Number.isSafeInteger(value) && value >= least && value <= most) return;
  throw invalidArgument(field, `must be a whole number from ${least} to ${most}, not ${value}.`, {
    limit: most,
  });
}
