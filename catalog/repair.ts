/** The repair queue. Its order: degraded writes, what reads stumbled over, what a scrub found; oldest first. */
import type { DamagedShard, RepairCatalog, RepairTask, ShardMove } from "../core/repair-catalog.ts";
import type { Sql, SqlRow } from "../core/ports.ts";
import { loadChunks } from "./locate.ts";
import { numberOf, onlyRow, statement, textOf } from "./sql.ts";

/** How long an attempt may take before its key is up for garbage collection, beside the grace. */
const ATTEMPT_SECONDS = 3_600;
const BACKOFF_FIRST_SECONDS = 30;
const BACKOFF_DOUBLINGS = 8;

export function repairCatalog(sql: Sql): RepairCatalog {
  return {
    lease: (limit, leaseMs) => lease(sql, limit, leaseMs),
    begin: (shard) => begin(sql, shard),
    commit: (move) => commit(sql, move),
    acquit: (chunkId, shardIndex, generation) => acquit(sql, chunkId, shardIndex, generation),
    postpone: (chunkId, shardIndices) => postpone(sql, chunkId, shardIndices),
    countWaiting: () => countWaiting(sql),
    queue: (damages, origin) => queueRepair(sql, damages, origin),
    async listChunks(afterChunkId, limit) {
      const rows = await sql.query(statement`
        SELECT id FROM chunks WHERE state = 'live' AND id > ${afterChunkId ?? LOWEST_ID}::uuid ORDER BY id LIMIT ${limit}`);
      return loadChunks(
        sql,
        rows.map((row) => textOf(row, "id")),
      );
    },
  };
}

const LOWEST_ID = "00000000-0000-0000-0000-000000000000";

/**
 * Marks shards as not stored, so that reads do without them, and queues them for repair. Idempotent; ignores
 * copies that were replaced meanwhile, and chunks that are not live.
 */
export async function queueRepair(
  sql: Sql,
  damages: readonly DamagedShard[],
  origin: "read" | "scrub" = "read",
): Promise<void> {
  if (damages.length === 0) return;
  await sql.query(statement`
    WITH damaged AS (
      UPDATE shards s SET stored = false
      FROM unnest(${damages.map(({ chunkId }) => chunkId)}::uuid[], ${damages.map(({ shardIndex }) => shardIndex)}::smallint[],
        ${damages.map(({ generation }) => generation)}::integer[], ${damages.map(({ reason }) => reason)}::text[])
        AS d (chunk_id, shard_index, generation, reason)
      JOIN chunks c ON c.id = d.chunk_id AND c.state = 'live'
      WHERE s.chunk_id = d.chunk_id AND s.shard_index = d.shard_index AND s.generation = d.generation
      RETURNING s.chunk_id, s.shard_index, d.reason
    )
    INSERT INTO repair_queue (chunk_id, shard_index, priority, reason)
    SELECT chunk_id, shard_index, ${origin === "read" ? 1 : 2}::smallint, reason FROM damaged
    ON CONFLICT DO NOTHING`);
}

async function lease(sql: Sql, limit: number, leaseMs: number): Promise<RepairTask[]> {
  const rows = await sql.query(statement`
    UPDATE repair_queue q SET attempts = attempts + 1, not_before = now() + ${leaseMs}::integer * interval '1 ms'
    FROM (
      SELECT w.chunk_id, w.shard_index FROM repair_queue w JOIN chunks c ON c.id = w.chunk_id AND c.state = 'live'
      WHERE w.not_before <= now() ORDER BY w.priority, w.created_at, w.chunk_id, w.shard_index
      LIMIT ${limit} FOR UPDATE OF w SKIP LOCKED
    ) due
    WHERE q.chunk_id = due.chunk_id AND q.shard_index = due.shard_index
    RETURNING q.chunk_id, q.shard_index, q.priority, q.created_at`);
  const shardsOf = Map.groupBy(rows, (row) => textOf(row, "chunk_id"));
  const chunks = await loadChunks(sql, [...shardsOf.keys()]);
  const priorityOf = (rowsOfChunk: readonly SqlRow[]): number =>
    Math.min(...rowsOfChunk.map((row) => numberOf(row, "priority")));
  return chunks
    .map((chunk) => ({ chunk, rows: shardsOf.get(chunk.id) ?? [] }))
    .toSorted((a, b) => priorityOf(a.rows) - priorityOf(b.rows))
    .map((task) => ({
      chunk: task.chunk,
      shardIndices: task.rows.map((row) => numberOf(row, "shard_index")),
    }));
}

async function begin(
  sql: Sql,
  { chunkId, shardIndex, fromGeneration, nodeId }: Parameters<RepairCatalog["begin"]>[0],
): Promise<ShardMove> {
  const rows = await sql.query(statement`
    INSERT INTO retired_shards (chunk_id, shard_index, generation, node_id, retired_at)
    SELECT ${chunkId}::uuid, ${shardIndex}::smallint, greatest(${fromGeneration}::integer, max(generation)) + 1,
      ${nodeId}::uuid, now() + ${ATTEMPT_SECONDS}::integer * interval '1 s'
    FROM retired_shards WHERE chunk_id = ${chunkId} AND shard_index = ${shardIndex}
    RETURNING generation`);
  const toGeneration = numberOf(onlyRow(rows), "generation");
  return { chunkId, shardIndex, fromGeneration, toGeneration, nodeId };
}

async function commit(sql: Sql, move: ShardMove): Promise<boolean> {
  const rows = await sql.query(statement`
    WITH written AS (
      DELETE FROM retired_shards WHERE chunk_id = ${move.chunkId} AND shard_index = ${move.shardIndex}
        AND generation = ${move.toGeneration}
        AND EXISTS (SELECT FROM chunks WHERE id = ${move.chunkId} AND state = 'live' FOR SHARE)
        AND EXISTS (SELECT FROM shards WHERE chunk_id = ${move.chunkId} AND shard_index = ${move.shardIndex}
          AND generation = ${move.fromGeneration} FOR UPDATE)
      RETURNING chunk_id
    ), old AS (
      SELECT s.node_id FROM shards s JOIN written USING (chunk_id) WHERE s.shard_index = ${move.shardIndex}
    ), moved AS (
      UPDATE shards s SET generation = ${move.toGeneration}, node_id = ${move.nodeId}, stored = true
      FROM written WHERE s.chunk_id = written.chunk_id AND s.shard_index = ${move.shardIndex}
        AND s.generation = ${move.fromGeneration}
      RETURNING s.chunk_id
    ), retired AS (
      INSERT INTO retired_shards (chunk_id, shard_index, generation, node_id)
      SELECT moved.chunk_id, ${move.shardIndex}::smallint, ${move.fromGeneration}::integer, old.node_id FROM moved, old
    ), done AS (
      DELETE FROM repair_queue q USING moved WHERE q.chunk_id = moved.chunk_id AND q.shard_index = ${move.shardIndex}
    )
    SELECT 1 AS one FROM moved`);
  return rows.length === 1;
}

async function acquit(sql: Sql, chunkId: string, shardIndex: number, generation: number): Promise<void> {
  await sql.query(statement`
    WITH whole AS (
      UPDATE shards SET stored = true
      WHERE chunk_id = ${chunkId} AND shard_index = ${shardIndex} AND generation = ${generation} RETURNING chunk_id
    )
    DELETE FROM repair_queue q USING whole WHERE q.chunk_id = whole.chunk_id AND q.shard_index = ${shardIndex}`);
}

async function postpone(sql: Sql, chunkId: string, shardIndices: readonly number[]): Promise<void> {
  await sql.query(statement`
    UPDATE repair_queue SET not_before = now()
      + ${BACKOFF_FIRST_SECONDS}::integer * power(2, least(attempts - 1, ${BACKOFF_DOUBLINGS}::integer)) * interval '1 s'
    WHERE chunk_id = ${chunkId} AND shard_index = ANY(${[...shardIndices]}::smallint[])`);
}

async function countWaiting(sql: Sql): Promise<number> {
  const rows = await sql.query(statement`
    SELECT count(*) AS waiting FROM repair_queue q JOIN chunks c ON c.id = q.chunk_id AND c.state = 'live'`);
  return numberOf(onlyRow(rows), "waiting");
}
