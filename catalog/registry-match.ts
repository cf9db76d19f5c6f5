/** Whether a dataset version equals an entry of the public registry. */
import type { Sql, SqlStatement } from "../core/ports.ts";
import type { Recipe } from "./registry.ts";
import { nullable, numberOf, statement, textOf, textsOf } from "./sql.ts";

export interface RegistryMatch {
  readonly id: string;
  readonly name: string;
  readonly version: string;
  readonly verifiedBy: readonly string[];
  readonly recipe: Recipe | null;
  /** Which of the two the dataset is. */
  readonly form: "published" | "unpacked";
}

/**
 * The entry that a version equals, published forms first. It does when
 * - its manifest hashes to one of the entry's hashes, or
 * - it has just the published files: each with the published SHA-256, and size where one was published, under the
 *   published path, below one folder or none. A file without a published SHA-256 equals nothing.
 *
 * The SHA-256 counts that the service computed of the stored bytes; see `nextUnhashed` for those that it has not.
 * A version that is being built is looked at by its files alone.
 * @param publicDatasetId the one entry to compare with. Default: all.
 */
export async function matchRegistry(
  sql: Sql,
  datasetId: string,
  publicDatasetId?: string,
): Promise<RegistryMatch | undefined> {
  const [row] = await sql.query(statement`
    WITH subject AS (
      SELECT d.id, d.content_hash, coalesce(d.file_count, (SELECT count(*) FROM dataset_files f WHERE f.dataset_id = d.id)) AS files
      FROM datasets d WHERE d.id = ${datasetId}
    )
    SELECT p.id, p.name, p.version, p.verified_by, p.recipe, form FROM subject d
    CROSS JOIN public_datasets p CROSS JOIN LATERAL (SELECT CASE
      WHEN p.official_hash = d.content_hash THEN 'published'
      WHEN (SELECT count(*) FROM public_files f WHERE f.public_dataset_id = p.id AND NOT f.unpacked) <> d.files THEN NULL
      WHEN EXISTS (
        SELECT FROM public_files f
        JOIN objects o ON o.sha256 = f.sha256
        JOIN dataset_files x ON x.object_id = o.id AND x.dataset_id = d.id
        WHERE f.public_dataset_id = p.id AND NOT f.unpacked AND coalesce(f.size_bytes, x.size_bytes) = x.size_bytes
          AND o.size = x.size_bytes AND o.content_hash = x.content_hash
          AND (x.path_in_dataset = f.path OR right(x.path_in_dataset, char_length(f.path) + 1) = '/' || f.path)
        GROUP BY char_length(x.path_in_dataset) - char_length(f.path),
          left(x.path_in_dataset, char_length(x.path_in_dataset) - char_length(f.path))
        HAVING count(*) = d.files
      ) THEN 'published'
    END AS by_files) AS files
    CROSS JOIN LATERAL (SELECT coalesce(files.by_files, CASE WHEN p.unpacked_hash = d.content_hash THEN 'unpacked' END) AS form) AS found
    WHERE form IS NOT NULL AND p.id = coalesce(${publicDatasetId ?? null}::uuid, p.id)
    ORDER BY form, p.name, p.version LIMIT 1`);
  return (
    row && {
      id: textOf(row, "id"),
      name: textOf(row, "name"),
      version: textOf(row, "version"),
      verifiedBy: textsOf(row, "verified_by"),
      recipe: nullable(textOf)(row, "recipe") as Recipe | null,
      form: textOf(row, "form") as RegistryMatch["form"],
    }
  );
}

/** A file that may be a published one, if only its SHA-256 were known. */
export interface UnhashedFile {
  readonly index: number;
  readonly objectId: string;
  readonly size: number;
}

/** The first file after `after` whose SHA-256 the service would need in order to match the version. */
export async function nextUnhashed(
  sql: Sql,
  datasetId: string,
  after: number,
): Promise<UnhashedFile | undefined> {
  const [row] = await sql.query(statement`
    WITH subject AS (
      SELECT d.id, coalesce(d.file_count, (SELECT count(*) FROM dataset_files f WHERE f.dataset_id = d.id)) AS files
      FROM datasets d WHERE d.id = ${datasetId}
    ), candidates AS MATERIALIZED (
      SELECT p.id FROM subject d CROSS JOIN public_datasets p
      WHERE (SELECT count(*) FROM public_files f WHERE f.public_dataset_id = p.id AND NOT f.unpacked) = d.files
    )
    SELECT x.file_index, x.object_id, x.size_bytes FROM dataset_files x JOIN objects o ON o.id = x.object_id
    WHERE x.dataset_id = ${datasetId} AND x.file_index > ${after}::int8 AND o.sha256 IS NULL
      AND EXISTS (SELECT FROM candidates) AND EXISTS (
        SELECT FROM candidates c JOIN public_files f ON f.public_dataset_id = c.id AND NOT f.unpacked
        WHERE f.sha256 IS NOT NULL AND coalesce(f.size_bytes, x.size_bytes) = x.size_bytes
          AND (x.path_in_dataset = f.path OR right(x.path_in_dataset, char_length(f.path) + 1) = '/' || f.path))
    ORDER BY x.file_index LIMIT 1`);
  return (
    row && {
      index: numberOf(row, "file_index"),
      objectId: textOf(row, "object_id"),
      size: numberOf(row, "size_bytes"),
    }
  );
}

/** Keeps the SHA-256 of an object's bytes, which never change. */
export async function recordSha256(sql: Sql, objectId: string, sha256: Uint8Array): Promise<void> {
  await sql.query(statement`UPDATE objects SET sha256 = ${sha256} WHERE id = ${objectId} AND sha256 IS NULL`);
}

/** Makes the match evidence for the version; again it has no effect. */
export function evidenceStatement(datasetId: string, publicDatasetId: string, userId: string): SqlStatement {
  return statement`
    INSERT INTO dataset_evidence (dataset_id, kind, public_dataset_id, created_by)
    SELECT d.id, 'registry', p.id, ${userId}::uuid FROM datasets d, public_datasets p
    WHERE d.id = ${datasetId} AND d.state = 'ready' AND p.id = ${publicDatasetId}
    ON CONFLICT DO NOTHING`;
}
