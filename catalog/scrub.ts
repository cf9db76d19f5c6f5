/** How far the scheduled search for damaged shards got: one row for each depth. */
import type { Sql } from "../core/ports.ts";
import { nullable, statement, textOf } from "./sql.ts";

export type ScrubDepth = "size" | "hash";

export interface ScrubPosition {
  /** Where to go on; null at the beginning of a pass. */
  readonly afterChunkId: string | null;
}

/**
 * Where the running pass goes on. Where there is none, one begins, but no sooner than `intervalMs` after the one
 * before began.
 * @returns undefined while none is due.
 */
export async function findScrubPosition(
  sql: Sql,
  depth: ScrubDepth,
  { nowMs, intervalMs }: { readonly nowMs: number; readonly intervalMs: number },
): Promise<ScrubPosition | undefined> {
  const now = new Date(nowMs).toISOString();
  const due = new Date(nowMs - intervalMs).toISOString();
  const [, rows] = await sql.transaction([
    statement`
      INSERT INTO scrub_passes AS p (depth, started_at) VALUES (${depth}, ${now}::timestamptz)
      ON CONFLICT (depth) DO UPDATE SET started_at = EXCLUDED.started_at, after_chunk_id = NULL, finished_at = NULL
        WHERE p.finished_at IS NOT NULL AND p.started_at <= ${due}::timestamptz`,
    statement`SELECT after_chunk_id FROM scrub_passes WHERE depth = ${depth} AND finished_at IS NULL`,
  ]);
  const row = rows?.[0];
  return row && { afterChunkId: nullable(textOf)(row, "after_chunk_id") };
}

/**
 * Keeps how far the pass is.
 * @param to null: it is over.
 * @returns false when somebody else moved it meanwhile.
 */
export async function moveScrubPosition(
  sql: Sql,
  depth: ScrubDepth,
  { from, to, nowMs }: { readonly from: string | null; readonly to: string | null; readonly nowMs: number },
): Promise<boolean> {
  const finishedAt = to === null ? new Date(nowMs).toISOString() : null;
  const rows = await sql.query(statement`
    UPDATE scrub_passes SET after_chunk_id = ${to}::uuid, finished_at = ${finishedAt}::timestamptz
    WHERE depth = ${depth} AND finished_at IS NULL AND after_chunk_id IS NOT DISTINCT FROM ${from}::uuid
    RETURNING depth`);
  return rows.length === 1;
}
