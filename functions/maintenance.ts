/** What the scheduled handler does: look for damaged shards and rewrite them, collect garbage, remove rows of deleted datasets. */
import { pruneRequests } from "../catalog/idempotency.ts";
import { pruneSessions } from "../catalog/sign-in.ts";
import { DataStreamError } from "../core/errors.ts";
import { MAINTENANCE_MS, MAINTENANCE_STEP_SHARDS, PRUNE_MAX_ROWS, SCRUB_SCHEDULES } from "../core/limits.ts";
import { collectGarbage, type GarbageReport } from "../storage/collect-garbage.ts";
import { drainRepairs } from "../storage/repair.ts";
import { sweepDatasets } from "./dataset-work.ts";
import type { Deps } from "./deps.ts";
import type { Invocation } from "./invocation.ts";
import { errorFields, type LogFields } from "./log.ts";
import { scrubOnSchedule } from "./scrub.ts";

/**
 * Each kind of work goes on for a bounded time, and begins whatever became of the others; the next run continues.
 * @throws DataStreamError when one of them failed, after all had their turn.
 */
export async function maintain(deps: Deps, invocation: Invocation): Promise<void> {
  const failed: string[] = [];
  const attempt = async (name: string, work: () => Promise<LogFields>): Promise<void> => {
    try {
      deps.log.info(name, await work());
    } catch (error) {
      failed.push(name);
      deps.log.error(name, errorFields(error));
    }
  };
  for (const depth of ["size", "hash"] as const)
    await attempt(`scrub_${depth}`, () => scrub(deps, invocation, depth));
  await attempt("repair", () => repair(deps, invocation));
  await attempt("collect_garbage", () => collect(deps, invocation));
  await attempt("sweep_datasets", async () => {
    await sweepDatasets(deps.sql);
    return {};
  });
  await attempt("prune_idempotency", async () => ({
    pruned_rows: await pruneRequests(deps.sql, PRUNE_MAX_ROWS),
  }));
  await attempt("prune_sessions", async () => ({
    pruned_rows: await pruneSessions(deps.sql, PRUNE_MAX_ROWS),
  }));
  if (failed.length > 0) throw new DataStreamError("internal", `Maintenance failed: ${failed.join(", ")}.`);
}

async function scrub(
  { sql, clock }: Deps,
  { repairs }: Invocation,
  depth: "size" | "hash",
): Promise<LogFields> {
  const endsAt = clock.now() + MAINTENANCE_MS;
  return { ...(await scrubOnSchedule({ sql, clock, repairs }, depth, SCRUB_SCHEDULES[depth], endsAt)) };
}

async function repair(deps: Deps, { repairs }: Invocation): Promise<LogFields> {
  const total = { repaired: 0, acquitted: 0, failed: 0, remaining: 0 };
  const endsAt = deps.clock.now() + MAINTENANCE_MS;
  for (let busy = true; busy && deps.clock.now() < endsAt;) {
    const report = await drainRepairs(repairs, { maxShards: MAINTENANCE_STEP_SHARDS });
    total.repaired += report.repaired;
    total.acquitted += report.acquitted;
    total.failed += report.failed;
    total.remaining = report.remaining;
    for (const failure of report.failures) deps.log.warn("repair_failed", { message: failure });
    busy = report.repaired + report.acquitted + report.failed > 0;
  }
  return total;
}

async function collect(deps: Deps, invocation: Invocation): Promise<LogFields> {
  const endsAt = deps.clock.now() + MAINTENANCE_MS;
  let total = await collectOnce(deps, invocation);
  for (let last = total; last.hasMore && deps.clock.now() < endsAt; total = sum(total, last)) {
    last = await collectOnce(deps, invocation);
  }
  const { failedNodes, hasMore, ...counts } = total;
  return { ...counts, failed_nodes: failedNodes, has_more: hasMore };
}

/** One bounded step of garbage collection. */
export function collectOnce({ clock, config }: Deps, { writes }: Invocation): Promise<GarbageReport> {
  return collectGarbage(writes, { now: clock.now(), graceMs: config.gcGraceMs });
}

function sum(total: GarbageReport, step: GarbageReport): GarbageReport {
  return {
    abortedUploads: total.abortedUploads + step.abortedUploads,
    deletedObjects: total.deletedObjects + step.deletedObjects,
    condemnedChunks: total.condemnedChunks + step.condemnedChunks,
    deletedChunks: total.deletedChunks + step.deletedChunks,
    deletedShards: total.deletedShards + step.deletedShards,
    prunedRows: total.prunedRows + step.prunedRows,
    failedNodes: [...new Set([...total.failedNodes, ...step.failedNodes])],
    hasMore: step.hasMore,
  };
}
