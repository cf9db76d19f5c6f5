/** The public registry: what was published elsewhere, with the hashes that its publishers give. */
import { DataStreamError } from "../core/errors.ts";
import { type Sql, SqlError, type SqlRow } from "../core/ports.ts";
import { quoted } from "../core/text.ts";
import { booleanOf, byteaArray, bytesOf, nullable, numberOf, statement, textOf, textsOf } from "./sql.ts";

/** How the files of an entry are taken apart; `docs/registry.md` says what each makes of them. */
export type Recipe = "tar" | "gzip" | "idx";

export interface PublicDataset {
  readonly id: string;
  readonly name: string;
  /** Which of the forms that it was published in. */
  readonly version: string;
  readonly officialUrl: string;
  readonly license: string | null;
  /** Who vouches for the hashes. */
  readonly verifiedBy: readonly string[];
  readonly recipe: Recipe | null;
  /** Manifest of the published files, and of what the recipe makes of them, where they are known. */
  readonly officialHash: Uint8Array | null;
  readonly unpackedHash: Uint8Array | null;
  /** A dataset version that every user may stream. */
  readonly cached: { readonly id: string; readonly reference: string } | null;
}

export interface PublicFile {
  readonly path: string;
  readonly sha256: Uint8Array | null;
  /** For people to compare; nothing is matched by it. */
  readonly md5: Uint8Array | null;
  /** Null where nobody published it. */
  readonly size: number | null;
  readonly url: string | null;
  readonly source: string;
  /** Lies within another file of the entry. */
  readonly unpacked: boolean;
}

const COLUMNS = `p.id, p.name, p.version, p.official_url, p.license, p.verified_by, p.recipe, p.official_hash,
  p.unpacked_hash, d.id AS cached_id, d.owner_name || '/' || d.name || '@' || d.version AS cached_reference`;
const SOURCE = "FROM public_datasets p LEFT JOIN dataset_summary d ON d.id = p.cached_dataset_id";

export interface PublicDatasetQuery {
  /** Part of the name, in either case. */
  readonly search: string | undefined;
  readonly after: { readonly name: string; readonly version: string } | undefined;
  readonly limit: number;
}

/** By name and version. */
export async function listPublicDatasets(
  sql: Sql,
  query: PublicDatasetQuery,
): Promise<readonly PublicDataset[]> {
  const { text, values } = statement`
    WHERE position(${query.search?.toLowerCase() ?? ""}::text IN lower(p.name)) > 0
      AND (${query.after?.name ?? null}::text IS NULL
        OR (p.name, p.version) > (${query.after?.name ?? null}::text, ${query.after?.version ?? null}::text))
    ORDER BY p.name, p.version LIMIT ${query.limit}`;
  const rows = await sql.query({ text: `SELECT ${COLUMNS} ${SOURCE} ${text}`, values });
  return rows.map(parseEntry);
}

export type PublicReference =
  | { readonly id: string }
  | { readonly name: string; readonly version: string | undefined };

/** Entries that a reference can mean: several when a name was given without its version. */
export async function findPublicDatasets(
  sql: Sql,
  reference: PublicReference,
): Promise<readonly PublicDataset[]> {
  const id = "id" in reference ? reference.id : null;
  const name = "id" in reference ? null : reference.name;
  const version = "id" in reference ? null : (reference.version ?? null);
  const { text, values } = statement`
    WHERE (${id}::uuid IS NULL OR p.id = ${id}::uuid) AND (${name}::text IS NULL OR lower(p.name) = lower(${name}::text))
      AND (${version}::text IS NULL OR p.version = ${version}::text)
    ORDER BY p.name, p.version`;
  const rows = await sql.query({ text: `SELECT ${COLUMNS} ${SOURCE} ${text}`, values });
  return rows.map(parseEntry);
}

/** In the order of their paths. */
export async function listPublicFiles(sql: Sql, publicDatasetId: string): Promise<readonly PublicFile[]> {
  const rows = await sql.query(statement`
    SELECT path, sha256, md5, size_bytes, url, source, unpacked FROM public_files
    WHERE public_dataset_id = ${publicDatasetId} ORDER BY unpacked, path`);
  return rows.map((row) => ({
    path: textOf(row, "path"),
    sha256: nullable(bytesOf)(row, "sha256"),
    md5: nullable(bytesOf)(row, "md5"),
    size: nullable(numberOf)(row, "size_bytes"),
    url: nullable(textOf)(row, "url"),
    source: textOf(row, "source"),
    unpacked: booleanOf(row, "unpacked"),
  }));
}

export interface NewPublicDataset extends Omit<PublicDataset, "unpackedHash" | "cached"> {
  readonly files: readonly Omit<PublicFile, "unpacked">[];
}

/** @throws `already_exists` when the registry has that name and version. */
export async function insertPublicDataset(sql: Sql, entry: NewPublicDataset): Promise<void> {
  const { files } = entry;
  try {
    await sql.transaction([
      statement`
        INSERT INTO public_datasets (id, name, version, official_url, license, verified_by, recipe, official_hash)
        VALUES (${entry.id}, ${entry.name}, ${entry.version}, ${entry.officialUrl}, ${entry.license},
          ${entry.verifiedBy}::text[], ${entry.recipe}, ${entry.officialHash}::bytea)`,
      statement`
        INSERT INTO public_files (public_dataset_id, path, sha256, md5, size_bytes, url, source, unpacked)
        SELECT ${entry.id}::uuid, f.*, false FROM unnest(${files.map(({ path }) => path)}::text[],
          ${byteaArray(files.map(({ sha256 }) => sha256))}::bytea[], ${byteaArray(files.map(({ md5 }) => md5))}::bytea[],
          ${files.map(({ size }) => size)}::int8[], ${files.map(({ url }) => url)}::text[],
          ${files.map(({ source }) => source)}::text[]) AS f`,
    ]);
  } catch (error) {
    if (error instanceof SqlError && error.state === "23505")
      throw new DataStreamError(
        "already_exists",
        `The registry has ${quoted(`${entry.name}@${entry.version}`)} already. Choose another version, or remove that one.`,
        { details: { field: "version" } },
      );
    throw error;
  }
}

/** Withdraws an entry, and with it all evidence that rests on it. @returns whether there was one. */
export async function deletePublicDataset(sql: Sql, id: string): Promise<boolean> {
  const rows = await sql.query(statement`DELETE FROM public_datasets WHERE id = ${id} RETURNING id`);
  return rows.length === 1;
}

/**
 * Opens a dataset version to every user as the entry's copy, or closes what was open.
 * @param datasetId must be verified against that entry; null for none.
 * @returns false when it is not.
 */
export async function setCachedCopy(sql: Sql, id: string, datasetId: string | null): Promise<boolean> {
  const rows = await sql.query(statement`
    UPDATE public_datasets SET cached_dataset_id = ${datasetId}::uuid
    WHERE id = ${id} AND (${datasetId}::uuid IS NULL OR EXISTS (
      SELECT FROM dataset_evidence e JOIN datasets d ON d.id = e.dataset_id AND d.state = 'ready'
      WHERE e.dataset_id = ${datasetId}::uuid AND e.kind = 'registry' AND e.public_dataset_id = ${id}))
    RETURNING id`);
  return rows.length === 1;
}

function parseEntry(row: SqlRow): PublicDataset {
  const cachedId = nullable(textOf)(row, "cached_id");
  return {
    id: textOf(row, "id"),
    name: textOf(row, "name"),
    version: textOf(row, "version"),
    officialUrl: textOf(row, "official_url"),
    license: nullable(textOf)(row, "license"),
    verifiedBy: textsOf(row, "verified_by"),
    recipe: nullable(textOf)(row, "recipe") as Recipe | null,
    officialHash: nullable(bytesOf)(row, "official_hash"),
    unpackedHash: nullable(bytesOf)(row, "unpacked_hash"),
    cached: cachedId === null ? null : { id: cachedId, reference: textOf(row, "cached_reference") },
  };
}
