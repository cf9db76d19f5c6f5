/** The scheduled search for damaged shards: through all chunks, some a run, from a position that is kept. */
import { findScrubPosition, moveScrubPosition, type ScrubDepth } from "../catalog/scrub.ts";
import type { ScrubSchedule } from "../core/limits.ts";
import type { Clock, Sql } from "../core/ports.ts";
import type { RepairDeps } from "../storage/repair.ts";
import { scrubChunks } from "../storage/scrub.ts";

export interface ScrubRun {
  readonly chunks: number;
  readonly shards: number;
  /** Shards found damaged and queued for repair. */
  readonly damaged: number;
  /** Shards whose node did not answer: the next pass asks again. */
  readonly unanswered: number;
  /** Whether the pass came to its end, or none was due. */
  readonly finished: boolean;
}

/**
 * One run: at most `chunksPerRun` chunks, in steps, and no step begins after `endsAt`. What is found is queued, and the
 * position kept, after each step; a run that is killed looks at one step again. Of two runs at once one gives way.
 * @param endsAt milliseconds since 1970 by the clock.
 */
export async function scrubOnSchedule(
  deps: { readonly sql: Sql; readonly clock: Clock; readonly repairs: RepairDeps },
  depth: ScrubDepth,
  { chunksPerRun, chunksPerStep, passMs }: ScrubSchedule,
  endsAt: number,
): Promise<ScrubRun> {
  const { sql, clock, repairs } = deps;
  const run = { chunks: 0, shards: 0, damaged: 0, unanswered: 0, finished: false };
  const position = await findScrubPosition(sql, depth, { nowMs: clock.now(), intervalMs: passMs });
  if (position === undefined) return { ...run, finished: true };
  let from = position.afterChunkId;
  while (run.chunks < chunksPerRun && clock.now() < endsAt) {
    const limit = Math.min(chunksPerStep, chunksPerRun - run.chunks);
    const step = await scrubChunks(repairs, { depth, limit, ...(from !== null && { afterChunkId: from }) });
    run.chunks += step.chunks;
    run.shards += step.shards;
    run.damaged += step.damaged;
    run.unanswered += step.unanswered;
    const to = step.nextChunkId;
    const moved = await moveScrubPosition(sql, depth, { from, to, nowMs: clock.now() });
    if (to === null) return { ...run, finished: moved };
    if (!moved) break;
    from = to;
  }
  return run;
}
