/** Chunks from intent to commit. A chunk becomes live in the one transaction that also references it. */
import type { Sql, SqlStatement } from "../core/ports.ts";
import type {
  ChunkIntent,
  CommitRefusal,
  PartCommit,
  StagedExtent,
  WrittenChunk,
} from "../core/write-catalog.ts";
import { booleanOf, byteaArray, isRefusedBy, onlyRow, statement, textOf } from "./sql.ts";

/** Records chunks, and the node of every shard, before any shard is put: what a crash leaves can be found. */
export async function insertIntents(
  sql: Sql,
  intents: readonly ChunkIntent[],
  leaseExpiresAt: Date,
): Promise<void> {
  const shards = intents.flatMap(({ id, nodeIds }) =>
    nodeIds.map((nodeId, index) => ({ id, index, nodeId })),
  );
  await sql.transaction([
    statement`
      INSERT INTO chunks (id, state, data_shards, parity_shards, lease_expires_at)
      SELECT id, 'writing', k, m, ${leaseExpiresAt.toISOString()}::timestamptz
      FROM unnest(${intents.map(({ id }) => id)}::uuid[], ${intents.map(({ dataShards }) => dataShards)}::smallint[],
        ${intents.map(({ parityShards }) => parityShards)}::smallint[]) AS t (id, k, m)`,
    statement`
      INSERT INTO shards (chunk_id, shard_index, node_id)
      SELECT * FROM unnest(${shards.map(({ id }) => id)}::uuid[], ${shards.map(({ index }) => index)}::smallint[],
        ${shards.map(({ nodeId }) => nodeId)}::uuid[])`,
  ]);
}

/**
 * The commit point of a part: its chunks become live, its staged content replaces that of an earlier attempt at
 * the same part, missing shards are queued for repair first in line, and the upload's lease is extended.
 */
export async function commitPart(sql: Sql, commit: PartCommit): Promise<"committed" | CommitRefusal> {
  const { upload, content } = commit;
  try {
    await sql.transaction([
      // The row lock of this statement makes the commits of one upload take turns.
      statement`
        WITH open AS (
          UPDATE upload_sessions SET revision = revision + 1,
            lease_expires_at = greatest(lease_expires_at, ${commit.leaseExpiresAt.toISOString()}::timestamptz)
          WHERE id = ${upload.id} AND state = 'open' RETURNING 1
        ) SELECT require_that(count(*) = 1, 'upload_open') FROM open`,
      ...enliven(commit.chunks),
      statement`DELETE FROM chunks WHERE id = ANY(${[...commit.unusedIntents]}::uuid[]) AND state = 'writing'`,
      ...(content.kind === "object" ? replaceRange(commit) : replaceFiles(commit)),
      upsertPart(commit),
      ...(content.kind === "object" ? stageRange(commit, content) : stageFiles(commit, content)),
    ]);
    return "committed";
  } catch (error) {
    if (isRefusedBy(error, "upload_open")) return { refused: "not-open" };
    if (isRefusedBy(error, "intents_alive")) return { refused: "lapsed" };
    if (isRefusedBy(error, "objects_staged_key"))
      return { refused: "duplicate", key: await findDuplicate(sql, commit) };
    throw error;
  }
}

/**
 * Whether a commit took effect whose answer was lost. Condemning its chunks waits for the commit if it is under
 * way, and makes it fail if it is still to come: so the answer is final, except for a part without chunks.
 */
export async function settlePart(
  sql: Sql,
  { upload, part, chunks }: PartCommit,
  now: Date,
): Promise<boolean> {
  const [, rows = []] = await sql.transaction([
    statement`
      UPDATE chunks SET state = 'condemned', condemned_at = ${now.toISOString()}::timestamptz, lease_expires_at = NULL
      WHERE id = ANY(${chunks.map(({ id }) => id)}::uuid[]) AND state = 'writing'`,
    statement`
      SELECT EXISTS (
        SELECT FROM upload_parts
        WHERE upload_id = ${upload.id} AND part_number = ${part.partNumber} AND attempt = ${part.attempt}
      ) AS committed`,
  ]);
  return booleanOf(onlyRow(rows), "committed");
}

function enliven(chunks: readonly WrittenChunk[]): SqlStatement[] {
  if (chunks.length === 0) return [];
  const ids = chunks.map(({ id }) => id);
  const shards = chunks.flatMap((chunk) =>
    chunk.shards.map((shard, index) => ({ ...shard, id: chunk.id, index })),
  );
  return [
    statement`
      WITH enlivened AS (
        UPDATE chunks c SET state = 'live', lease_expires_at = NULL,
          length = w.length, shard_length = w.shard_length, content_hash = w.content_hash
        FROM unnest(${ids}::uuid[], ${chunks.map(({ length }) => length)}::integer[],
          ${chunks.map(({ shardLength }) => shardLength)}::integer[],
          ${byteaArray(chunks.map(({ contentHash }) => contentHash))}::bytea[])
          AS w (id, length, shard_length, content_hash)
        WHERE c.id = w.id AND c.state = 'writing' RETURNING 1
      ) SELECT require_that(count(*) = ${chunks.length}, 'intents_alive') FROM enlivened`,
    statement`
      UPDATE shards s SET hash = w.hash, stored = w.stored
      FROM unnest(${shards.map(({ id }) => id)}::uuid[], ${shards.map(({ index }) => index)}::smallint[],
        ${byteaArray(shards.map(({ hash }) => hash))}::bytea[], ${shards.map(({ stored }) => stored)}::boolean[])
        AS w (chunk_id, shard_index, hash, stored)
      WHERE s.chunk_id = w.chunk_id AND s.shard_index = w.shard_index`,
    statement`
      INSERT INTO repair_queue (chunk_id, shard_index, priority, reason)
      SELECT chunk_id, shard_index, 0, 'degraded_write' FROM shards WHERE chunk_id = ANY(${ids}::uuid[]) AND NOT stored`,
  ];
}

function upsertPart({ upload, part }: PartCommit): SqlStatement {
  return statement`
    INSERT INTO upload_parts (upload_id, part_number, attempt, size, content_hash, chaining_value, file_count,
      file_bytes, chunk_count, degraded_count)
    VALUES (${upload.id}, ${part.partNumber}, ${part.attempt}, ${part.size}, ${part.contentHash}::bytea,
      ${part.chainingValue}::bytea, ${part.fileCount}, ${part.fileBytes}, ${part.chunkCount}, ${part.degradedCount})
    ON CONFLICT (upload_id, part_number) DO UPDATE SET attempt = excluded.attempt, size = excluded.size,
      content_hash = excluded.content_hash, chaining_value = excluded.chaining_value, file_count = excluded.file_count,
      file_bytes = excluded.file_bytes, chunk_count = excluded.chunk_count, degraded_count = excluded.degraded_count`;
}

/** What an earlier attempt wrote into the part's range of the object. */
function replaceRange({ upload, part }: PartCommit): SqlStatement[] {
  const start = (part.partNumber - 1) * upload.partBytes;
  return [
    statement`
      DELETE FROM extents WHERE object_id = (SELECT id FROM objects WHERE upload_id = ${upload.id})
        AND object_offset >= ${start} AND object_offset < ${start + upload.partBytes}`,
  ];
}

function stageRange(
  { upload, part }: PartCommit,
  content: { readonly extents: readonly StagedExtent[]; readonly sha256: Uint8Array | null },
): SqlStatement[] {
  const { extents } = content;
  return [
    ...(part.partNumber === 1
      ? [statement`UPDATE objects SET sha256 = ${content.sha256}::bytea WHERE upload_id = ${upload.id}`]
      : []),
    statement`
      INSERT INTO extents (object_id, object_offset, chunk_id, chunk_offset, length)
      SELECT o.id, e.object_offset, e.chunk_id, e.chunk_offset, e.length
      FROM objects o, unnest(${extents.map((e) => e.objectOffset)}::bigint[], ${extents.map((e) => e.chunkId)}::uuid[],
        ${extents.map((e) => e.chunkOffset)}::integer[], ${extents.map((e) => e.length)}::integer[])
        AS e (object_offset, chunk_id, chunk_offset, length)
      WHERE o.upload_id = ${upload.id}`,
  ];
}

/** The files of an earlier attempt; the first condition spares a first attempt the search. */
function replaceFiles({ upload, part }: PartCommit): SqlStatement[] {
  return [
    statement`
      DELETE FROM extents USING objects o
      WHERE EXISTS (SELECT FROM upload_parts WHERE upload_id = ${upload.id} AND part_number = ${part.partNumber})
        AND o.upload_id = ${upload.id} AND o.part_number = ${part.partNumber} AND object_id = o.id`,
    statement`
      DELETE FROM objects
      WHERE EXISTS (SELECT FROM upload_parts WHERE upload_id = ${upload.id} AND part_number = ${part.partNumber})
        AND upload_id = ${upload.id} AND part_number = ${part.partNumber}`,
  ];
}

function stageFiles(
  { upload, part }: PartCommit,
  content: Extract<PartCommit["content"], { kind: "tar" }>,
): SqlStatement[] {
  const { files } = content;
  const extents = files.flatMap((file) => file.extents.map((extent) => ({ ...extent, id: file.id })));
  return [
    statement`
      INSERT INTO objects (id, bucket_id, key, state, size, content_hash, sha256, upload_id, part_number)
      SELECT id, ${upload.bucketId}::uuid, key, 'staged', size, content_hash, sha256, ${upload.id}::uuid, ${part.partNumber}::integer
      FROM unnest(${files.map(({ id }) => id)}::uuid[], ${files.map(({ key }) => key)}::text[],
        ${files.map(({ size }) => size)}::bigint[], ${byteaArray(files.map(({ contentHash }) => contentHash))}::bytea[],
        ${byteaArray(files.map(({ sha256 }) => sha256))}::bytea[]) AS f (id, key, size, content_hash, sha256)`,
    statement`
      INSERT INTO extents (object_id, object_offset, chunk_id, chunk_offset, length)
      SELECT * FROM unnest(${extents.map((e) => e.id)}::uuid[], ${extents.map((e) => e.objectOffset)}::bigint[],
        ${extents.map((e) => e.chunkId)}::uuid[], ${extents.map((e) => e.chunkOffset)}::integer[],
        ${extents.map((e) => e.length)}::integer[])`,
  ];
}

/** A key of the part that another part of the upload has staged; the refused transaction left no trace. */
async function findDuplicate(sql: Sql, { upload, part, content }: PartCommit): Promise<string> {
  const keys = content.kind === "tar" ? content.files.map(({ key }) => key) : [];
  const rows = await sql.query(statement`
    SELECT key FROM objects WHERE upload_id = ${upload.id} AND part_number <> ${part.partNumber}
      AND key = ANY(${keys}::text[]) ORDER BY key LIMIT 1`);
  return rows[0] === undefined ? "" : textOf(rows[0], "key");
}
