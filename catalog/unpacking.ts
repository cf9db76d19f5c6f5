/** What an unpacking job asks of the catalog. Every statement may run twice with the same effect. */
import type { Sql, SqlStatement } from "../core/ports.ts";
import { numberOf, onlyRow, statement, textOf } from "./sql.ts";

/** A stored file that equals a published one. */
export interface PublishedObject {
  /** As published. */
  readonly path: string;
  readonly objectId: string;
}

/** The files of a version that equals an entry, by the published path. */
export async function publishedObjects(
  sql: Sql,
  datasetId: string,
  publicDatasetId: string,
): Promise<readonly PublishedObject[]> {
  const rows = await sql.query(statement`
    SELECT DISTINCT ON (f.path) f.path, o.id FROM dataset_files x
    JOIN objects o ON o.id = x.object_id AND o.content_hash = x.content_hash
    JOIN public_files f ON f.sha256 = o.sha256 AND NOT f.unpacked AND f.public_dataset_id = ${publicDatasetId}
    WHERE x.dataset_id = ${datasetId} ORDER BY f.path, x.file_index`);
  return rows.map((row) => ({ path: textOf(row, "path"), objectId: textOf(row, "id") }));
}

/** Makes keys of the objects behind files `from` on name nothing; the dataset keeps them. @returns files looked at. */
export async function dropDatasetObjects(
  sql: Sql,
  datasetId: string,
  from: number,
  count: number,
): Promise<number> {
  const [row] = await sql.query(statement`
    WITH files AS (
      SELECT object_id FROM dataset_files
      WHERE dataset_id = ${datasetId} AND file_index >= ${from}::int8 AND file_index < ${from + count}::int8
    ), dropped AS (
      UPDATE objects SET state = 'dropped' WHERE id IN (SELECT object_id FROM files) AND state = 'live'
    ) SELECT count(*) AS n FROM files`);
  return numberOf(row ?? {}, "n");
}

/** Makes keys with a prefix name nothing, at most `count`. @returns how many. */
export async function dropPrefix(sql: Sql, bucketId: string, prefix: string, count: number): Promise<number> {
  const rows = await sql.query(statement`
    WITH dropped AS (
      UPDATE objects SET state = 'dropped' WHERE id IN (
        SELECT id FROM objects WHERE bucket_id = ${bucketId} AND state = 'live' AND key ^@ ${prefix} LIMIT ${count})
      RETURNING 1
    ) SELECT count(*) AS n FROM dropped`);
  return numberOf(onlyRow(rows), "n");
}

/** What the recipe made of an entry's files hashes to this. The first result stands. */
export function unpackedStatement(publicDatasetId: string, contentHash: Uint8Array): SqlStatement {
  return statement`
    UPDATE public_datasets SET unpacked_hash = ${contentHash}
    WHERE id = ${publicDatasetId} AND unpacked_hash IS NULL AND recipe IS NOT NULL`;
}

/** Opens the version to every user as the entry's copy; what the published form hashes to is known from it. */
export function cachedStatement(
  publicDatasetId: string,
  datasetId: string,
  contentHash: Uint8Array,
): SqlStatement {
  return statement`
    UPDATE public_datasets SET cached_dataset_id = ${datasetId}, official_hash = coalesce(official_hash, ${contentHash})
    WHERE id = ${publicDatasetId}`;
}
