/** Public keys that users sign with. Private keys never come near the service. */
import { DataStreamError } from "../core/errors.ts";
import { SIGNING_KEYS_MAX } from "../core/limits.ts";
import type { Sql, SqlRow } from "../core/ports.ts";
import { bytesOf, type CreationPosition, dateOf, isRefusedBy, nullable, statement, textOf } from "./sql.ts";

export interface SigningKeyRow {
  readonly id: string;
  readonly name: string;
  readonly publicKey: Uint8Array;
  readonly createdAt: Date;
  readonly revokedAt: Date | null;
}

/**
 * Registers a key whose possession was proved.
 * @throws `already_exists` for a name in use, and for a public key that anybody ever registered;
 *   `failed_precondition` when the user has too many.
 */
export async function insertSigningKey(
  sql: Sql,
  {
    userId,
    name,
    publicKey,
  }: { readonly userId: string; readonly name: string; readonly publicKey: Uint8Array },
): Promise<SigningKeyRow> {
  try {
    const [row] = await sql.query(statement`
      INSERT INTO signing_keys (user_id, name, public_key) SELECT ${userId}::uuid, ${name}::text, ${publicKey}::bytea
      WHERE (SELECT count(*) FROM signing_keys WHERE user_id = ${userId}::uuid AND revoked_at IS NULL) < ${SIGNING_KEYS_MAX}
      RETURNING id, name, public_key, created_at, revoked_at`);
    if (row !== undefined) return parseSigningKey(row);
  } catch (error) {
    if (isRefusedBy(error, "signing_keys_name"))
      throw new DataStreamError("already_exists", "name: you have a key of this name. Choose another.", {
        details: { field: "name" },
      });
    if (isRefusedBy(error, "signing_keys_public_key_key"))
      throw new DataStreamError(
        "already_exists",
        "public_key: it was registered before. A key is registered once and, once revoked, never again; create a new one.",
        { details: { field: "public_key" } },
      );
    throw error;
  }
  throw new DataStreamError(
    "failed_precondition",
    `A user holds at most ${SIGNING_KEYS_MAX} signing keys. Revoke one that is no longer used.`,
    { details: { limit: SIGNING_KEYS_MAX } },
  );
}

/** Oldest first, revoked ones included. @param page.after where the page before ended. */
export async function listSigningKeys(
  sql: Sql,
  userId: string,
  page: { readonly after: CreationPosition | undefined; readonly limit: number },
): Promise<readonly SigningKeyRow[]> {
  const { after, limit } = page;
  const rows = await sql.query(statement`
    SELECT id, name, public_key, created_at, revoked_at FROM signing_keys
    WHERE user_id = ${userId} AND (${after?.id ?? null}::uuid IS NULL OR (date_trunc('milliseconds', created_at), id)
      > (to_timestamp(${after?.createdAtMs ?? 0}::float8 / 1000), ${after?.id ?? null}::uuid))
    ORDER BY date_trunc('milliseconds', created_at), id LIMIT ${limit}`);
  return rows.map(parseSigningKey);
}

/** Revoking again is no error. @returns false when the user has no such key. */
export async function revokeSigningKey(sql: Sql, userId: string, keyId: string): Promise<boolean> {
  const rows = await sql.query(statement`
    UPDATE signing_keys SET revoked_at = COALESCE(revoked_at, now())
    WHERE id = ${keyId} AND user_id = ${userId} RETURNING id`);
  return rows.length === 1;
}

function parseSigningKey(row: SqlRow): SigningKeyRow {
  return {
    id: textOf(row, "id"),
    name: textOf(row, "name"),
    publicKey: bytesOf(row, "public_key"),
    createdAt: dateOf(row, "created_at"),
    revokedAt: nullable(dateOf)(row, "revoked_at"),
  };
}
