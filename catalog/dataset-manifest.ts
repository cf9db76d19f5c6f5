/** The files of a dataset as packed rows, for writing and checking manifests of any length in flat memory. */
import type { Sql } from "../core/ports.ts";
import { PackedRows } from "./packed-rows.ts";
import { statement } from "./sql.ts";

/** What a manifest says of one file, apart from its path. */
export interface FileRecord {
  /** UTF-8 bytes of the path. */
  readonly pathLength: number;
  readonly size: number;
  readonly contentHash: Uint8Array;
}

/** Records of the files `from` to `from + count − 1` as the dataset recorded them; fewer where the files end. */
export async function readRecords(
  sql: Sql,
  datasetId: string,
  from: number,
  count: number,
): Promise<FileRecord[]> {
  const [row] = await sql.query(statement`
    SELECT string_agg(int4send(octet_length(path_in_dataset)) || int8send(size_bytes) || content_hash, ''::bytea
      ORDER BY file_index) AS rows
    FROM dataset_files
    WHERE dataset_id = ${datasetId} AND file_index >= ${from}::int8 AND file_index < ${from + count}::int8`);
  return decodeRecords(row?.rows);
}

/** The same from the stored objects that the files name: what is there to be read now. */
export async function readStoredRecords(
  sql: Sql,
  datasetId: string,
  from: number,
  count: number,
): Promise<FileRecord[]> {
  const [row] = await sql.query(statement`
    SELECT string_agg(int4send(octet_length(f.path_in_dataset)) || int8send(o.size) || o.content_hash, ''::bytea
      ORDER BY f.file_index) AS rows
    FROM dataset_files f JOIN objects o ON o.id = f.object_id
    WHERE f.dataset_id = ${datasetId} AND f.file_index >= ${from}::int8 AND f.file_index < ${from + count}::int8`);
  return decodeRecords(row?.rows);
}

/** UTF-8 paths of the files `from` to `from + count − 1`. */
export async function readPaths(
  sql: Sql,
  datasetId: string,
  from: number,
  count: number,
): Promise<Uint8Array[]> {
  const [row] = await sql.query(statement`
    SELECT string_agg(int4send(octet_length(path_in_dataset)) || convert_to(path_in_dataset, 'UTF8'), ''::bytea
      ORDER BY file_index) AS rows
    FROM dataset_files
    WHERE dataset_id = ${datasetId} AND file_index >= ${from}::int8 AND file_index < ${from + count}::int8`);
  const rows = packed(row?.rows);
  const paths: Uint8Array[] = [];
  while (!rows.done) paths.push(rows.bytes(rows.int4()));
  return paths;
}

function decodeRecords(bytes: unknown): FileRecord[] {
  const rows = packed(bytes);
  const records: FileRecord[] = [];
  while (!rows.done) {
    records.push({ pathLength: rows.int4(), size: rows.int8(), contentHash: rows.bytes(32) });
  }
  return records;
}

function packed(bytes: unknown): PackedRows {
  return new PackedRows(bytes instanceof Uint8Array ? bytes : new Uint8Array());
}
