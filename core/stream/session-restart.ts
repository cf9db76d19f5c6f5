/** Where a stream goes on when its world size changes. */
import { positionAfter, totalBatches, type BatchPlan } from "./batches.ts";
import type { EpochStart, SessionRecords, StreamShape } from "./session-records.ts";

/**
 * The position behind the last global batch for which every rank declared a checkpoint; if there is none, behind
 * the last one that every rank acknowledged. A rank that has no batches left never holds the others back;
 * one that never attached does.
 */
export function restartPosition(records: SessionRecords, before: EpochStart, shape: StreamShape): number {
  const { generation, epoch, startIndex } = before;
  const plan: BatchPlan = { ...shape, worldSize: generation.worldSize, rank: 0, start: startIndex };
  const totals = Array.from({ length: generation.worldSize }, (_, rank) => totalBatches({ ...plan, rank }));
  const done =
    lastCommonCheckpoint(records.checkpoints(generation.number, epoch), totals) ??
    lowestAcknowledged(records.acknowledged(generation.number, epoch), totals);
  return done === 0 ? startIndex : positionAfter(plan, done - 1);
}

function lastCommonCheckpoint(
  checkpoints: ReturnType<SessionRecords["checkpoints"]>,
  totals: readonly number[],
): number | undefined {
  const byRank = totals.map(() => new Set<number>());
  for (const { rank, batches } of checkpoints) byRank[rank]?.add(batches);
  const candidates = [...new Set(checkpoints.map(({ batches }) => batches))].toSorted((a, b) => b - a);
  return candidates.find((batches) =>
    totals.every((total, rank) => total === 0 || byRank[rank]?.has(Math.min(batches, total))),
  );
}

function lowestAcknowledged(acknowledged: ReadonlyMap<number, number>, totals: readonly number[]): number {
  let lowest = Math.max(...totals.slice(0, 1), 0);
  totals.forEach((total, rank) => {
    const batches = acknowledged.get(rank) ?? 0;
    if (batches < total) lowest = Math.min(lowest, batches);
  });
  return lowest;
}
