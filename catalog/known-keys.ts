/** Lists of public keys whose signatures are accepted: each user's own, and the deployment's for everybody. */
import { DataStreamError } from "../core/errors.ts";
import { KNOWN_KEYS_MAX } from "../core/limits.ts";
import type { Sql, SqlRow } from "../core/ports.ts";
import { bytesOf, dateOf, isRefusedBy, statement, textOf } from "./sql.ts";

/** Whose list: a user's id, or null for the deployment's. */
export type KnownKeyList = string | null;

export interface KnownKeyRow {
  readonly name: string;
  readonly publicKey: Uint8Array;
  readonly createdAt: Date;
}

/** @throws `already_exists` for a key that the list has; `failed_precondition` when it is full. */
export async function insertKnownKey(
  sql: Sql,
  list: KnownKeyList,
  { name, publicKey }: Pick<KnownKeyRow, "name" | "publicKey">,
): Promise<KnownKeyRow> {
  try {
    const [row] = await sql.query(statement`
      INSERT INTO known_keys (user_id, name, public_key) SELECT ${list}::uuid, ${name}::text, ${publicKey}::bytea
      WHERE (SELECT count(*) FROM known_keys WHERE user_id IS NOT DISTINCT FROM ${list}::uuid) < ${KNOWN_KEYS_MAX}
      RETURNING name, public_key, created_at`);
    if (row !== undefined) return parseKnownKey(row);
  } catch (error) {
    if (isRefusedBy(error, "known_keys_user_id_public_key_key"))
      throw new DataStreamError("already_exists", "public_key: it is on the list already.", {
        details: { field: "public_key" },
      });
    throw error;
  }
  throw new DataStreamError(
    "failed_precondition",
    `A list holds at most ${KNOWN_KEYS_MAX} known keys. Remove one that is no longer needed.`,
    { details: { limit: KNOWN_KEYS_MAX } },
  );
}

/** By public key. @param page.after the last key of the page before. */
export async function listKnownKeys(
  sql: Sql,
  list: KnownKeyList,
  page: { readonly after: Uint8Array | undefined; readonly limit: number },
): Promise<readonly KnownKeyRow[]> {
  const after = page.after ?? null;
  const rows = await sql.query(statement`
    SELECT name, public_key, created_at FROM known_keys
    WHERE user_id IS NOT DISTINCT FROM ${list}::uuid AND (${after}::bytea IS NULL OR public_key > ${after}::bytea)
    ORDER BY public_key LIMIT ${page.limit}`);
  return rows.map(parseKnownKey);
}

/** @returns false when the list does not have it. */
export async function deleteKnownKey(sql: Sql, list: KnownKeyList, publicKey: Uint8Array): Promise<boolean> {
  const rows = await sql.query(statement`
    DELETE FROM known_keys WHERE user_id IS NOT DISTINCT FROM ${list}::uuid AND public_key = ${publicKey}::bytea
    RETURNING id`);
  return rows.length === 1;
}

function parseKnownKey(row: SqlRow): KnownKeyRow {
  return {
    name: textOf(row, "name"),
    publicKey: bytesOf(row, "public_key"),
    createdAt: dateOf(row, "created_at"),
  };
}
