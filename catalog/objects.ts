/** Objects that keys name. Their bytes are found through `locate.ts`. */
import type { Sql, SqlRow } from "../core/ports.ts";
import { bytesOf, dateOf, nullable, numberOf, onlyRow, statement, textOf } from "./sql.ts";

export interface StoredObject {
  readonly id: string;
  readonly bucketId: string;
  readonly key: string;
  readonly size: number;
  /** BLAKE3. */
  readonly contentHash: Uint8Array;
  /** Null until it was computed: an upload of several parts is not hashed again. */
  readonly sha256: Uint8Array | null;
  readonly createdAt: Date;
}

/** The object that a key names now, or undefined. */
export async function findLiveObject(
  sql: Sql,
  bucketId: string,
  key: string,
): Promise<StoredObject | undefined> {
  const rows = await sql.query(statement`
    SELECT id, bucket_id, key, size, content_hash, sha256, created_at FROM objects
    WHERE bucket_id = ${bucketId} AND key = ${key} AND state = 'live'`);
  return rows.map(parseObject)[0];
}

export interface ObjectPage {
  readonly objects: readonly StoredObject[];
  /** Give it as `after` for the next page; null on the last one. */
  readonly nextAfter: string | null;
}

/** Objects of a bucket whose key begins with `prefix`, in byte order of their keys, after the key `after`. */
export async function listObjects(
  sql: Sql,
  query: {
    readonly bucketId: string;
    readonly prefix?: string;
    readonly after?: string;
    readonly limit: number;
  },
): Promise<ObjectPage> {
  const { bucketId, prefix = "", after = "", limit } = query;
  const rows = await sql.query(statement`
    SELECT id, bucket_id, key, size, content_hash, sha256, created_at FROM objects
    WHERE bucket_id = ${bucketId} AND state = 'live' AND key ^@ ${prefix} AND key > ${after}
    ORDER BY key LIMIT ${limit + 1}`);
  const objects = rows.slice(0, limit).map(parseObject);
  return { objects, nextAfter: rows.length > limit ? (objects.at(-1)?.key ?? null) : null };
}

/**
 * Makes keys name nothing. The bytes stay while a dataset uses them, and are collected otherwise.
 * @returns how many of the keys named something.
 */
export async function dropObjects(sql: Sql, bucketId: string, keys: readonly string[]): Promise<number> {
  const rows = await sql.query(statement`
    WITH dropped AS (
      UPDATE objects SET state = 'dropped'
      WHERE bucket_id = ${bucketId} AND key = ANY(${keys}::text[]) AND state = 'live' RETURNING 1
    ) SELECT count(*) AS n FROM dropped`);
  return numberOf(onlyRow(rows), "n");
}

function parseObject(row: SqlRow): StoredObject {
  return {
    id: textOf(row, "id"),
    bucketId: textOf(row, "bucket_id"),
    key: textOf(row, "key"),
    size: numberOf(row, "size"),
    contentHash: bytesOf(row, "content_hash"),
    sha256: nullable(bytesOf)(row, "sha256"),
    createdAt: dateOf(row, "created_at"),
  };
}
