/** Upload sessions and their parts. Nothing of an upload is visible before it is completed. */
import type { Sql, SqlRow } from "../core/ports.ts";
import type {
  CommitRefusal,
  CompleteUpload,
  NewUpload,
  Upload,
  UploadPart,
  UploadResult,
} from "../core/write-catalog.ts";
import { bytesOf, dateOf, isRefusedBy, nullable, numberOf, onlyRow, statement, textOf } from "./sql.ts";

/** Inserts the session and, for an object, its staged row. */
export async function createUpload(sql: Sql, upload: NewUpload): Promise<void> {
  await sql.transaction([
    statement`
      INSERT INTO upload_sessions (id, bucket_id, kind, key, state, part_bytes, expected_sha256, lease_expires_at)
      VALUES (${upload.id}, ${upload.bucketId}, ${upload.kind}, ${upload.key}, 'open', ${upload.partBytes},
        ${upload.expectedSha256}::bytea, ${upload.leaseExpiresAt.toISOString()}::timestamptz)`,
    statement`
      INSERT INTO objects (bucket_id, key, state, size, upload_id)
      SELECT bucket_id, key, 'staged', 0, id FROM upload_sessions WHERE id = ${upload.id} AND kind = 'object'`,
  ]);
}

/** Undefined when there is none, or its bucket belongs to another owner than the given one. */
export async function findUpload(
  sql: Sql,
  uploadId: string,
  ownerId: string | undefined,
): Promise<Upload | undefined> {
  const rows = await sql.query(statement`
    SELECT u.*, b.owner_id, b.name AS bucket_name, b.chunk_bytes, b.data_shards, b.parity_shards
    FROM upload_sessions u JOIN buckets b ON b.id = u.bucket_id
    WHERE u.id = ${uploadId} AND b.owner_id = coalesce(${ownerId ?? null}::uuid, b.owner_id)`);
  return rows.map(parseUpload)[0];
}

/** All accepted parts in order. */
export async function listParts(sql: Sql, uploadId: string): Promise<UploadPart[]> {
  const rows = await sql.query(
    statement`SELECT * FROM upload_parts WHERE upload_id = ${uploadId} ORDER BY part_number`,
  );
  return rows.map(parsePart);
}

/** The row that an upload of one object fills; it keeps its id when it goes live. */
export async function findStagedObject(
  sql: Sql,
  uploadId: string,
): Promise<{ readonly id: string; readonly sha256: Uint8Array | null }> {
  const row = onlyRow(
    await sql.query(statement`SELECT id, sha256 FROM objects WHERE upload_id = ${uploadId}`),
  );
  return { id: textOf(row, "id"), sha256: nullable(bytesOf)(row, "sha256") };
}

/**
 * Makes everything that the upload staged live, in place of what its keys named, and stores the result.
 * The lock on the bucket makes completions take turns: two that name the same key both succeed, one after the other.
 */
export async function completeUpload(
  sql: Sql,
  completion: CompleteUpload,
): Promise<"committed" | CommitRefusal> {
  const { upload, revision, object, result } = completion;
  try {
    await sql.transaction([
      statement`SELECT FROM buckets WHERE id = ${upload.bucketId} FOR NO KEY UPDATE`,
      statement`
        WITH closed AS (
          UPDATE upload_sessions SET state = 'completed', result = ${JSON.stringify(result)}::jsonb
          WHERE id = ${upload.id} AND state = 'open' RETURNING revision
        ) SELECT require_that(count(*) = 1, 'upload_open'), require_that(bool_and(revision = ${revision}), 'upload_revision')
        FROM closed`,
      statement`
        UPDATE objects SET state = 'dropped'
        WHERE bucket_id = ${upload.bucketId} AND state = 'live'
          AND key IN (SELECT key FROM objects WHERE upload_id = ${upload.id})`,
      object === undefined
        ? statement`
            UPDATE objects SET state = 'live', upload_id = NULL, part_number = NULL, created_at = now()
            WHERE upload_id = ${upload.id}`
        : statement`
            UPDATE objects SET state = 'live', upload_id = NULL, created_at = now(), size = ${object.size},
              content_hash = ${object.contentHash}::bytea, sha256 = CASE WHEN ${object.keepSha256}::boolean THEN sha256 END
            WHERE upload_id = ${upload.id}`,
    ]);
    return "committed";
  } catch (error) {
    if (isRefusedBy(error, "upload_open")) return { refused: "not-open" };
    if (isRefusedBy(error, "upload_revision")) return { refused: "changed" };
    throw error;
  }
}

/** Open → aborted. The state after the call; undefined when there is no such upload of this owner. */
export async function abortUpload(
  sql: Sql,
  uploadId: string,
  ownerId: string,
): Promise<Upload["state"] | undefined> {
  const [, rows = []] = await sql.transaction([
    statement`
      UPDATE upload_sessions u SET state = 'aborted' FROM buckets b
      WHERE u.id = ${uploadId} AND u.state = 'open' AND b.id = u.bucket_id AND b.owner_id = ${ownerId}`,
    statement`
      SELECT u.state FROM upload_sessions u JOIN buckets b ON b.id = u.bucket_id
      WHERE u.id = ${uploadId} AND b.owner_id = ${ownerId}`,
  ]);
  return rows.map(parseState)[0];
}

function parseState(row: SqlRow): Upload["state"] {
  return textOf(row, "state") as Upload["state"];
}

function parseUpload(row: SqlRow): Upload {
  return {
    id: textOf(row, "id"),
    bucketId: textOf(row, "bucket_id"),
    bucketName: textOf(row, "bucket_name"),
    ownerId: textOf(row, "owner_id"),
    kind: textOf(row, "kind") as Upload["kind"],
    key: textOf(row, "key"),
    state: parseState(row),
    partBytes: numberOf(row, "part_bytes"),
    expectedSha256: nullable(bytesOf)(row, "expected_sha256"),
    leaseExpiresAt: dateOf(row, "lease_expires_at"),
    revision: numberOf(row, "revision"),
    result: (row["result"] as UploadResult | null) ?? null,
    chunkBytes: numberOf(row, "chunk_bytes"),
    dataShards: numberOf(row, "data_shards"),
    parityShards: numberOf(row, "parity_shards"),
  };
}

function parsePart(row: SqlRow): UploadPart {
  return {
    partNumber: numberOf(row, "part_number"),
    attempt: textOf(row, "attempt"),
    size: numberOf(row, "size"),
    contentHash: bytesOf(row, "content_hash"),
    chainingValue: nullable(bytesOf)(row, "chaining_value"),
    fileCount: numberOf(row, "file_count"),
    fileBytes: numberOf(row, "file_bytes"),
    chunkCount: numberOf(row, "chunk_count"),
    degradedCount: numberOf(row, "degraded_count"),
  };
}
