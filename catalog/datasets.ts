/**
 * Dataset versions as users see them: only those that are ready. How one comes to be, and goes, is in
 * `dataset-building.ts`.
 */
import type { Standing } from "../core/access/scopes.ts";
import type { DatasetReference } from "../core/dataset/name.ts";
import type { TrustLevel } from "../core/dataset/trust.ts";
import { LIST_MAX_ENTRIES } from "../core/limits.ts";
import type { Sql, SqlRow } from "../core/ports.ts";
import { booleanOf, bytesOf, dateOf, nullable, numberOf, statement, textOf, textsOf } from "./sql.ts";

export interface DatasetRow {
  /** Of this version. */
  readonly id: string;
  readonly name: string;
  readonly ownerId: string;
  readonly ownerName: string;
  readonly version: number;
  /** The version before, unless there was none or it was deleted. */
  readonly parentId: string | null;
  readonly description: string;
  /** As `parseSchema` accepted it, classes included. */
  readonly schema: Readonly<Record<string, unknown>>;
  readonly schemaHash: Uint8Array;
  /** BLAKE3 of the manifest. */
  readonly contentHash: Uint8Array;
  readonly totalSizeBytes: number;
  readonly fileCount: number;
  readonly maxItemBytes: number;
  readonly manifestSizeBytes: number;
  readonly manifestObjectId: string;
  /** Object with the chaining values of the manifest's pages. */
  readonly treeObjectId: string;
  /** The level that evidence gives it now in the eyes of the user who asked, that it may be their own aside. */
  readonly vouchedLevel: TrustLevel;
  /** Whether it is the cached copy of an entry of the public registry, which every user may read and stream. */
  readonly isPublic: boolean;
  readonly createdAt: Date;
}

/**
 * Columns of `dataset_summary d` and the manifest's row in `objects m`; read them with `parseDataset`.
 * @param who the SQL of a user's id: a parameter or a column.
 */
export function datasetColumns(who: string): string {
  return `d.id, d.name, d.owner_id, d.owner_name, d.version, d.parent_version_id,
  d.description, d.schema, d.schema_hash, d.content_hash, d.total_size_bytes, d.file_count, d.max_item_bytes,
  m.size AS manifest_size_bytes, d.manifest_object_id, d.tree_object_id, d.created_at,
  dataset_vouched(d.id, ${who}) AS vouched_level, is_public_copy(d.id) AS is_public`;
}

export function parseDataset(row: SqlRow): DatasetRow {
  return {
    id: textOf(row, "id"),
    name: textOf(row, "name"),
    ownerId: textOf(row, "owner_id"),
    ownerName: textOf(row, "owner_name"),
    version: numberOf(row, "version"),
    parentId: nullable(textOf)(row, "parent_version_id"),
    description: textOf(row, "description"),
    schema: row.schema as DatasetRow["schema"],
    schemaHash: bytesOf(row, "schema_hash"),
    contentHash: bytesOf(row, "content_hash"),
    totalSizeBytes: numberOf(row, "total_size_bytes"),
    fileCount: numberOf(row, "file_count"),
    maxItemBytes: numberOf(row, "max_item_bytes"),
    manifestSizeBytes: numberOf(row, "manifest_size_bytes"),
    manifestObjectId: textOf(row, "manifest_object_id"),
    treeObjectId: textOf(row, "tree_object_id"),
    vouchedLevel: numberOf(row, "vouched_level") as TrustLevel,
    isPublic: booleanOf(row, "is_public"),
    createdAt: dateOf(row, "created_at"),
  };
}

/** From columns `is_owner` and `shared`. */
export function standingOf(row: SqlRow): Standing {
  return { isOwner: booleanOf(row, "is_owner"), shared: textsOf(row, "shared") };
}

export interface FoundDataset {
  readonly dataset: DatasetRow;
  readonly standing: Standing;
}

/**
 * The dataset version that a user means: a name without an owner is the user's own, one without a version the
 * newest that this user can reach. Undefined when it does not exist or the user has neither it nor a share of it.
 */
export async function findDataset(
  sql: Sql,
  userId: string,
  reference: DatasetReference,
): Promise<FoundDataset | undefined> {
  const { id = null, name = null, owner = null, version = null, contentHash = null } = reference;
  const { text, values } = statement`
    FROM dataset_summary d
    JOIN objects m ON m.id = d.manifest_object_id
    CROSS JOIN LATERAL shared_permissions(d.id, ${userId}::uuid) AS shared
    WHERE (d.owner_id = ${userId}::uuid OR shared <> '{}')
      AND (${id}::uuid IS NULL OR d.id = ${id}::uuid)
      AND (${name}::text IS NULL OR d.name = ${name}::text)
      AND (${id}::uuid IS NOT NULL OR CASE WHEN ${owner}::text IS NULL THEN d.owner_id = ${userId}::uuid
        ELSE d.owner_name = ${owner}::text END)
      AND (${version}::integer IS NULL OR d.version = ${version}::integer)
      AND (${contentHash}::bytea IS NULL OR d.content_hash = ${contentHash}::bytea)
    ORDER BY d.version DESC LIMIT 1`;
  const [row] = await sql.query({
    text: `SELECT d.owner_id = $1::uuid AS is_owner, shared, ${datasetColumns("$1::uuid")} ${text}`,
    values,
  });
  return row && { dataset: parseDataset(row), standing: standingOf(row) };
}

export interface DatasetQuery {
  /** Part of the name. */
  readonly search: string | undefined;
  /** Those that are open to everybody; else the user's own, and those that are shared with them. */
  readonly isPublic: boolean;
  /** Highest level, as this user sees it. */
  readonly maxTrustLevel: TrustLevel;
  readonly after: { readonly name: string; readonly owner: string } | undefined;
  readonly limit: number;
}

/** The newest version of each dataset that the query is about, by name and owner. */
export async function listDatasets(
  sql: Sql,
  userId: string,
  query: DatasetQuery,
): Promise<readonly DatasetRow[]> {
  const { text, values } = statement`
    FROM dataset_summary d
    JOIN objects m ON m.id = d.manifest_object_id
    WHERE CASE WHEN ${query.isPublic}::boolean THEN is_public_copy(d.id) ELSE d.owner_id = ${userId}::uuid OR EXISTS (
        SELECT FROM dataset_shares s WHERE s.dataset_id = d.id AND s.shared_with_user_id = ${userId}::uuid
          AND (s.expires_at IS NULL OR s.expires_at > now())) END
      AND position(${query.search?.toLowerCase() ?? ""}::text IN d.name) > 0
      AND (${query.after?.name ?? null}::text IS NULL
        OR (d.name, d.owner_name) > (${query.after?.name ?? null}::text, ${query.after?.owner ?? null}::text))
      AND dataset_trust(d.id, ${userId}::uuid) <= ${query.maxTrustLevel}::integer
    ORDER BY d.name, d.owner_name, d.version DESC
    LIMIT ${query.limit}`;
  const rows = await sql.query({
    text: `SELECT DISTINCT ON (d.name, d.owner_name) ${datasetColumns("$2::uuid")} ${text}`,
    values,
  });
  return rows.map(parseDataset);
}

/** Versions of one name that the user can reach, newest first, from below a version number on. */
export async function listVersions(
  sql: Sql,
  userId: string,
  dataset: Pick<DatasetRow, "ownerId" | "name">,
  page: { readonly below?: number | undefined; readonly limit?: number } = {},
): Promise<readonly DatasetRow[]> {
  const { text, values } = statement`
    FROM dataset_summary d
    JOIN objects m ON m.id = d.manifest_object_id
    WHERE (d.owner_id = ${userId}::uuid OR EXISTS (
        SELECT FROM dataset_shares s WHERE s.dataset_id = d.id AND s.shared_with_user_id = ${userId}::uuid
          AND (s.expires_at IS NULL OR s.expires_at > now())) OR is_public_copy(d.id))
      AND d.owner_id = ${dataset.ownerId} AND d.name = ${dataset.name}
      AND (${page.below ?? null}::integer IS NULL OR d.version < ${page.below ?? null})
    ORDER BY d.version DESC LIMIT ${page.limit ?? LIST_MAX_ENTRIES}`;
  const rows = await sql.query({ text: `SELECT ${datasetColumns("$1::uuid")} ${text}`, values });
  return rows.map(parseDataset);
}

export interface DatasetFile {
  readonly index: number;
  readonly path: string;
  readonly size: number;
  readonly contentHash: Uint8Array;
}

/** Files in the dataset's order. */
export async function listFiles(
  sql: Sql,
  datasetId: string,
  page: { readonly from: number; readonly limit: number },
): Promise<readonly DatasetFile[]> {
  const rows = await sql.query(statement`
    SELECT file_index, path_in_dataset, size_bytes, content_hash FROM dataset_files
    WHERE dataset_id = ${datasetId} AND file_index >= ${page.from}::int8
    ORDER BY file_index LIMIT ${page.limit}`);
  return rows.map((row) => ({
    index: numberOf(row, "file_index"),
    path: textOf(row, "path_in_dataset"),
    size: numberOf(row, "size_bytes"),
    contentHash: bytesOf(row, "content_hash"),
  }));
}

/** Chunks and shards that hold the files of a dataset; a cost proportional to its files. */
export async function countChunks(
  sql: Sql,
  datasetId: string,
): Promise<{ readonly chunks: number; readonly shards: number }> {
  const [row] = await sql.query(statement`
    SELECT count(*) AS chunks, COALESCE(sum(c.data_shards + c.parity_shards), 0)::int8 AS shards
    FROM chunks c WHERE c.id IN (
      SELECT e.chunk_id FROM dataset_files f JOIN extents e ON e.object_id = f.object_id
      WHERE f.dataset_id = ${datasetId})`);
  return { chunks: numberOf(row ?? {}, "chunks"), shards: numberOf(row ?? {}, "shards") };
}
