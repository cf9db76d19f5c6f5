/** Buckets: a name space of one owner, and the geometry of the chunks written to it. */
import { LIST_MAX_ENTRIES } from "../core/limits.ts";
import type { Sql, SqlRow } from "../core/ports.ts";
import { numberOf, onlyRow, statement, textOf } from "./sql.ts";

export interface BucketGeometry {
  /** Data bytes of a full chunk, a power of two. */
  readonly chunkBytes: number;
  readonly dataShards: number;
  readonly parityShards: number;
}

export interface Bucket extends BucketGeometry {
  readonly id: string;
  readonly ownerId: string;
  readonly name: string;
}

/**
 * Creates the bucket, or finds the one of this name, whose geometry may be another.
 * @returns `created` false when it was there before.
 */
export async function ensureBucket(
  sql: Sql,
  bucket: Omit<Bucket, "id">,
): Promise<{ readonly bucket: Bucket; readonly created: boolean }> {
  const rows = await sql.query(statement`
    INSERT INTO buckets (owner_id, name, chunk_bytes, data_shards, parity_shards)
    VALUES (${bucket.ownerId}, ${bucket.name}, ${bucket.chunkBytes}, ${bucket.dataShards}, ${bucket.parityShards})
    ON CONFLICT (owner_id, name) DO NOTHING
    RETURNING *`);
  if (rows[0] !== undefined) return { bucket: parseBucket(rows[0]), created: true };
  const existing = await sql.query(statement`
    SELECT * FROM buckets WHERE owner_id = ${bucket.ownerId} AND name = ${bucket.name}`);
  return { bucket: parseBucket(onlyRow(existing)), created: false };
}

export async function findBucket(sql: Sql, ownerId: string, name: string): Promise<Bucket | undefined> {
  const rows = await sql.query(statement`
    SELECT * FROM buckets WHERE owner_id = ${ownerId} AND name = ${name}`);
  return rows.map(parseBucket)[0];
}

/** Buckets of an owner by name, after `after`; the gateway's own, which begin with a dot, are not shown. */
export async function listBuckets(
  sql: Sql,
  ownerId: string,
  { after = "", limit = LIST_MAX_ENTRIES }: { readonly after?: string; readonly limit?: number } = {},
): Promise<Bucket[]> {
  const rows = await sql.query(statement`
    SELECT * FROM buckets
    WHERE owner_id = ${ownerId} AND name COLLATE "C" > ${after} AND NOT starts_with(name, '.')
    ORDER BY name COLLATE "C" LIMIT ${limit}`);
  return rows.map(parseBucket);
}

function parseBucket(row: SqlRow): Bucket {
  return {
    id: textOf(row, "id"),
    ownerId: textOf(row, "owner_id"),
    name: textOf(row, "name"),
    chunkBytes: numberOf(row, "chunk_bytes"),
    dataShards: numberOf(row, "data_shards"),
    parityShards: numberOf(row, "parity_shards"),
  };
}
