/**
 * How a dataset version comes to be: rows that are invisible until one transaction makes them a version, and how
 * they go again. Every statement may run twice with the same effect.
 */
import type { Sql, SqlStatement } from "../core/ports.ts";
import { numberOf, onlyRow, statement, textOf } from "./sql.ts";

export interface NewDataset {
  readonly id: string;
  readonly ownerId: string;
  readonly jobId: string;
  readonly name: string;
  readonly description: string;
  readonly schema: unknown;
}

export async function insertBuilding(sql: Sql, dataset: NewDataset): Promise<void> {
  await sql.query(statement`
    INSERT INTO datasets (id, owner_id, job_id, name, description, schema)
    VALUES (${dataset.id}, ${dataset.ownerId}, ${dataset.jobId}, ${dataset.name}, ${dataset.description},
      ${JSON.stringify(dataset.schema)}::jsonb)
    ON CONFLICT (id) DO NOTHING`);
}

/** Keys of one bucket that begin alike. Sources of one scan do not overlap. */
export interface KeySource {
  readonly bucketId: string;
  readonly prefix: string;
}

export interface Candidate {
  readonly objectId: string;
  /** Position of its source in the scan's list. */
  readonly source: number;
  readonly key: string;
  readonly size: number;
}

/**
 * A page of the live objects of several sources, merged by the bytes of their keys, then by source.
 * @param after the last candidate of the page before.
 */
export async function listCandidates(
  sql: Sql,
  sources: readonly KeySource[],
  after: Pick<Candidate, "source" | "key"> | undefined,
  limit: number,
): Promise<readonly Candidate[]> {
  const values: (string | number)[] = [limit];
  const parameter = (value: string | number): string => `$${values.push(value)}`;
  const scans = sources.map(({ bucketId, prefix }, source) => {
    const where = [`bucket_id = ${parameter(bucketId)}::uuid`, "state = 'live'"];
    if (prefix !== "") where.push(`key ^@ ${parameter(prefix)}::text`);
    if (after !== undefined)
      where.push(`key ${source <= after.source ? ">" : ">="} ${parameter(after.key)}::text`);
    return `(SELECT id, ${source} AS source, key, size FROM objects WHERE ${where.join(" AND ")} ORDER BY key LIMIT $1)`;
  });
  const rows = await sql.query({
    text: `SELECT * FROM (${scans.join(" UNION ALL ")}) AS found ORDER BY key, source LIMIT $1`,
    values,
  });
  return rows.map((row) => ({
    objectId: textOf(row, "id"),
    source: numberOf(row, "source"),
    key: textOf(row, "key"),
    size: numberOf(row, "size"),
  }));
}

/**
 * Makes the objects the files `from`, `from + 1`, … of a dataset that is being built, in place of all files that
 * stood there or after. A path is the object's key without `folder`, with which every key begins.
 * @returns how many became files; fewer than given when objects were collected meanwhile: then list again.
 */
export async function stageFiles(
  sql: Sql,
  datasetId: string,
  from: number,
  objectIds: readonly string[],
  folder: string,
): Promise<number> {
  const [, rows = []] = await sql.transaction([
    statement`DELETE FROM dataset_files WHERE dataset_id = ${datasetId} AND file_index >= ${from}::int8`,
    statement`
      WITH staged AS (
        INSERT INTO dataset_files (dataset_id, file_index, object_id, path_in_dataset, content_hash, size_bytes)
        SELECT ${datasetId}::uuid, ${from}::int8 + chosen.position - 1, o.id,
          substr(o.key, char_length(${folder}::text) + 1), o.content_hash, o.size
        FROM unnest(${objectIds}::uuid[]) WITH ORDINALITY AS chosen (id, position) JOIN objects o ON o.id = chosen.id
        RETURNING 1
      ) SELECT count(*) AS n FROM staged`,
  ]);
  return numberOf(onlyRow(rows), "n");
}

export interface FinishedDataset {
  readonly id: string;
  readonly jobId: string;
  /** Complete with classes. */
  readonly schema: unknown;
  readonly schemaHash: Uint8Array;
  readonly contentHash: Uint8Array;
  readonly totalSizeBytes: number;
  readonly fileCount: number;
  readonly maxItemBytes: number;
  readonly manifestObjectId: string;
  readonly treeObjectId: string;
}

/**
 * Makes the dataset the next version of its name, and writes that version into the job's result. One transaction.
 * The row of the name is locked first, so of two commits at once the second sees the first as its parent.
 */
export function commitStatements(dataset: FinishedDataset): SqlStatement[] {
  return [
    statement`
      INSERT INTO dataset_names (owner_id, name, last_version)
      SELECT owner_id, name, 1 FROM datasets WHERE id = ${dataset.id} AND state = 'building'
      ON CONFLICT (owner_id, name) DO UPDATE SET last_version = dataset_names.last_version + 1`,
    statement`
      UPDATE datasets d SET state = 'ready', version = n.last_version, created_at = now(),
        parent_version_id = (SELECT p.id FROM datasets p
          WHERE p.owner_id = d.owner_id AND p.name = d.name AND p.state = 'ready' ORDER BY p.version DESC LIMIT 1),
        schema = ${JSON.stringify(dataset.schema)}::jsonb, schema_hash = ${dataset.schemaHash},
        content_hash = ${dataset.contentHash}, total_size_bytes = ${dataset.totalSizeBytes}::int8,
        file_count = ${dataset.fileCount}::int8, max_item_bytes = ${dataset.maxItemBytes}::int8,
        manifest_object_id = ${dataset.manifestObjectId}, tree_object_id = ${dataset.treeObjectId}
      FROM dataset_names n
      WHERE d.id = ${dataset.id} AND d.state = 'building' AND n.owner_id = d.owner_id AND n.name = d.name`,
    statement`
      UPDATE jobs SET result = result || jsonb_build_object('version', d.version)
      FROM datasets d WHERE jobs.id = ${dataset.jobId} AND jobs.state = 'succeeded' AND d.id = ${dataset.id}`,
  ];
}

/** Whether the job's dataset is neither ready nor given up. */
export async function isBuilding(sql: Sql, datasetId: string, jobId: string): Promise<boolean> {
  const rows = await sql.query(statement`
    SELECT FROM datasets WHERE id = ${datasetId} AND job_id = ${jobId} AND state = 'building'`);
  return rows.length === 1;
}

/** Leaves a dataset that its job gives up to `sweep`. */
export async function releaseBuilding(sql: Sql, datasetId: string): Promise<void> {
  await sql.query(
    statement`UPDATE datasets SET job_id = NULL WHERE id = ${datasetId} AND state = 'building'`,
  );
}

/**
 * Takes a version away from everybody, its tokens and shares with it. Its rows remain until `sweep` has removed
 * them; objects that nothing else uses are collected with other garbage.
 */
export function withdrawStatements(datasetId: string): SqlStatement[] {
  return [
    statement`UPDATE datasets SET state = 'building', version = NULL, job_id = NULL WHERE id = ${datasetId}`,
    statement`UPDATE datasets SET parent_version_id = NULL WHERE parent_version_id = ${datasetId}`,
    statement`DELETE FROM data_access_tokens WHERE dataset_id = ${datasetId}`,
    statement`DELETE FROM dataset_shares WHERE dataset_id = ${datasetId}`,
    statement`
      UPDATE objects SET state = 'dropped'
      WHERE state = 'live' AND id IN (
        SELECT unnest(ARRAY[manifest_object_id, tree_object_id]) FROM datasets WHERE id = ${datasetId})`,
  ];
}

/**
 * Removes rows of withdrawn datasets, at most `maxFiles` of their files.
 * @returns whether anything may be left.
 */
export async function sweep(sql: Sql, maxFiles: number): Promise<boolean> {
  const [rows = []] = await sql.transaction([
    statement`
      WITH removed AS (
        DELETE FROM dataset_files WHERE (dataset_id, file_index) IN (
          SELECT f.dataset_id, f.file_index FROM datasets d JOIN dataset_files f ON f.dataset_id = d.id
          WHERE d.state = 'building' AND d.job_id IS NULL LIMIT ${maxFiles})
        RETURNING 1
      ) SELECT count(*) AS n FROM removed`,
    statement`
      DELETE FROM datasets d WHERE d.state = 'building' AND d.job_id IS NULL
        AND NOT EXISTS (SELECT FROM dataset_files f WHERE f.dataset_id = d.id)`,
  ]);
  return numberOf(onlyRow(rows), "n") === maxFiles;
}
