/**
 * The steps of garbage collection. Each is safe beside any commit: what is condemned is locked first and judged
 * after, in a later statement of the same transaction, which sees every commit that the lock waited for.
 */
import type { Sql, SqlRow, SqlStatement } from "../core/ports.ts";
import type { ShardToDelete } from "../core/write-catalog.ts";
import { numberOf, statement, textOf } from "./sql.ts";

/** Open uploads whose lease ended before → aborted. */
export async function abortExpiredUploads(sql: Sql, before: Date, limit: number): Promise<number> {
  const rows = await sql.query(statement`
    UPDATE upload_sessions SET state = 'aborted'
    WHERE id IN (
      SELECT id FROM upload_sessions WHERE state = 'open' AND lease_expires_at < ${before.toISOString()}::timestamptz
      ORDER BY lease_expires_at LIMIT ${limit} FOR UPDATE SKIP LOCKED
    ) RETURNING 1 AS one`);
  return rows.length;
}

/** Staged objects of aborted uploads. An aborted upload takes no more parts. */
export async function deleteStagedObjects(sql: Sql, limit: number): Promise<number> {
  const ids = await idsOf(
    sql,
    statement`
    SELECT o.id FROM upload_sessions u JOIN objects o ON o.upload_id = u.id WHERE u.state = 'aborted' LIMIT ${limit}`,
  );
  if (ids.length === 0) return 0;
  const [, deleted = []] = await sql.transaction([
    statement`DELETE FROM extents WHERE object_id = ANY(${ids}::uuid[])`,
    statement`DELETE FROM objects WHERE id = ANY(${ids}::uuid[]) RETURNING id`,
  ]);
  return deleted.length;
}

/** Dropped objects that no dataset uses. The lock holds off a dataset that is about to reference one. */
export async function deleteDroppedObjects(sql: Sql, limit: number): Promise<number> {
  const candidates = await idsOf(
    sql,
    statement`
    SELECT id FROM objects o WHERE state = 'dropped'
      AND NOT EXISTS (SELECT FROM dataset_files WHERE object_id = o.id)
      AND NOT EXISTS (SELECT FROM datasets WHERE manifest_object_id = o.id)
      AND NOT EXISTS (SELECT FROM datasets WHERE tree_object_id = o.id)
    LIMIT ${limit}`,
  );
  if (candidates.length === 0) return 0;
  const results = await sql.transaction([
    statement`SELECT FROM objects WHERE id = ANY(${candidates}::uuid[]) ORDER BY id FOR UPDATE`,
    statement`
      DELETE FROM extents WHERE object_id IN (
        SELECT id FROM objects o WHERE id = ANY(${candidates}::uuid[]) AND state = 'dropped'
          AND NOT EXISTS (SELECT FROM dataset_files WHERE object_id = o.id)
          AND NOT EXISTS (SELECT FROM datasets WHERE manifest_object_id = o.id)
          AND NOT EXISTS (SELECT FROM datasets WHERE tree_object_id = o.id))`,
    statement`
      DELETE FROM objects o WHERE id = ANY(${candidates}::uuid[]) AND state = 'dropped'
        AND NOT EXISTS (SELECT FROM dataset_files WHERE object_id = o.id)
        AND NOT EXISTS (SELECT FROM datasets WHERE manifest_object_id = o.id)
        AND NOT EXISTS (SELECT FROM datasets WHERE tree_object_id = o.id)
      RETURNING id`,
  ]);
  return results[2]?.length ?? 0;
}

/** Intents whose lease ended before → condemned. A commit of theirs finds them no longer writing, and fails. */
export async function condemnLapsedIntents(
  sql: Sql,
  before: Date,
  now: Date,
  limit: number,
): Promise<number> {
  const rows = await sql.query(statement`
    UPDATE chunks SET state = 'condemned', condemned_at = ${now.toISOString()}::timestamptz, lease_expires_at = NULL
    WHERE id IN (
      SELECT id FROM chunks WHERE state = 'writing' AND lease_expires_at < ${before.toISOString()}::timestamptz
      ORDER BY lease_expires_at LIMIT ${limit} FOR UPDATE SKIP LOCKED
    ) RETURNING 1 AS one`);
  return rows.length;
}

/** Live chunks that lost their last reference → condemned. Repairing them would be wasted. */
export async function condemnLooseChunks(sql: Sql, now: Date, limit: number): Promise<number> {
  const ids = await idsOf(sql, statement`SELECT chunk_id AS id FROM loose_chunks LIMIT ${limit}`);
  if (ids.length === 0) return 0;
  const results = await sql.transaction([
    statement`SELECT FROM chunks WHERE id = ANY(${ids}::uuid[]) ORDER BY id FOR UPDATE`,
    statement`
      UPDATE chunks c SET state = 'condemned', condemned_at = ${now.toISOString()}::timestamptz
      WHERE id = ANY(${ids}::uuid[]) AND state = 'live' AND NOT EXISTS (SELECT FROM extents WHERE chunk_id = c.id)
      RETURNING id`,
    statement`DELETE FROM loose_chunks WHERE chunk_id = ANY(${ids}::uuid[])`,
    statement`
      DELETE FROM repair_queue USING chunks c
      WHERE chunk_id = ANY(${ids}::uuid[]) AND c.id = chunk_id AND c.state = 'condemned'`,
  ]);
  return results[1]?.length ?? 0;
}

/** Chunks condemned before, each with every shard that may exist. */
export async function findCondemnedChunks(
  sql: Sql,
  before: Date,
  limit: number,
): Promise<Map<string, ShardToDelete[]>> {
  const rows = await sql.query(statement`
    SELECT s.chunk_id, s.shard_index, s.generation, s.node_id
    FROM (
      SELECT id FROM chunks c WHERE state = 'condemned' AND condemned_at < ${before.toISOString()}::timestamptz
        AND NOT EXISTS (SELECT FROM extents WHERE chunk_id = c.id)
      ORDER BY condemned_at LIMIT ${limit}
    ) c JOIN shards s ON s.chunk_id = c.id`);
  return Map.groupBy(rows.map(parseShard), ({ chunkId }) => chunkId);
}

/** Condemned → deleted. Call it when every shard is known to be gone. */
export async function markDeleted(sql: Sql, chunkIds: readonly string[]): Promise<number> {
  const rows = await sql.query(statement`
    UPDATE chunks SET state = 'deleted' WHERE id = ANY(${[...chunkIds]}::uuid[]) AND state = 'condemned'
    RETURNING 1 AS one`);
  return rows.length;
}

/** Forgets deleted chunks that were condemned before, and closed uploads, with their parts, whose lease ended before. */
export async function prune(sql: Sql, before: Date, limit: number): Promise<number> {
  const [chunks = [], uploads = []] = await sql.transaction([
    statement`
      DELETE FROM chunks WHERE id IN (
        SELECT id FROM chunks WHERE state = 'deleted' AND condemned_at < ${before.toISOString()}::timestamptz LIMIT ${limit}
      ) RETURNING 1 AS one`,
    statement`
      DELETE FROM upload_sessions WHERE id IN (
        SELECT id FROM upload_sessions u
        WHERE state IN ('completed', 'aborted') AND lease_expires_at < ${before.toISOString()}::timestamptz
          AND NOT EXISTS (SELECT FROM objects WHERE upload_id = u.id)
        LIMIT ${limit}
      ) RETURNING 1 AS one`,
  ]);
  return chunks.length + uploads.length;
}

/** Shards that repair replaced before. */
export async function findRetiredShards(sql: Sql, before: Date, limit: number): Promise<ShardToDelete[]> {
  const rows = await sql.query(statement`
    SELECT chunk_id, shard_index, generation, node_id FROM retired_shards
    WHERE retired_at < ${before.toISOString()}::timestamptz ORDER BY retired_at LIMIT ${limit}`);
  return rows.map(parseShard);
}

/** Call it when the shards are known to be gone. */
export async function forgetRetiredShards(sql: Sql, shards: readonly ShardToDelete[]): Promise<number> {
  const rows = await sql.query(statement`
    DELETE FROM retired_shards r
    USING unnest(${shards.map(({ chunkId }) => chunkId)}::uuid[], ${shards.map(({ index }) => index)}::smallint[],
      ${shards.map(({ generation }) => generation)}::integer[]) AS g (chunk_id, shard_index, generation)
    WHERE r.chunk_id = g.chunk_id AND r.shard_index = g.shard_index AND r.generation = g.generation
    RETURNING 1 AS one`);
  return rows.length;
}

async function idsOf(sql: Sql, query: SqlStatement): Promise<string[]> {
  return (await sql.query(query)).map((row) => textOf(row, "id"));
}

function parseShard(row: SqlRow): ShardToDelete {
  return {
    chunkId: textOf(row, "chunk_id"),
    index: numberOf(row, "shard_index"),
    generation: numberOf(row, "generation"),
    nodeId: textOf(row, "node_id"),
  };
}
