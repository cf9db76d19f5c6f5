/** Users and their API keys. A key itself never reaches this module, only its SHA-256. */
import { DataStreamError, invalidArgument } from "../core/errors.ts";
import { API_KEYS_MAX_PER_USER } from "../core/limits.ts";
import { type Sql, SqlError, type SqlRow } from "../core/ports.ts";
import { booleanOf, dateOf, nullable, statement, textOf } from "./sql.ts";

export type Role = "admin" | "owner";

export interface User {
  readonly id: string;
  readonly name: string;
  readonly role: Role;
}

export interface UserRow extends User {
  /** Null for who has never signed in at a page. */
  readonly email: string | null;
  readonly emailVerified: boolean;
  readonly createdAt: Date;
}

export interface ApiKeyRow {
  readonly id: string;
  readonly name: string;
  readonly createdAt: Date;
  readonly revokedAt: Date | null;
}

export interface NewUser {
  /** Unique, and not `me`; 1 to 64 lowercase letters, digits, `.`, `_`, `-`, beginning with a letter or digit. */
  readonly name: string;
  readonly role: Role;
}

export interface NewApiKey {
  readonly userId: string;
  /** For people, to tell their keys apart. */
  readonly name: string;
  readonly keyHash: Uint8Array;
}

const NAME = /^[a-z0-9][a-z0-9._-]{0,63}$/;

/** @throws DataStreamError `invalid_argument` for the name, `already_exists` when it is taken. */
export async function createUser(sql: Sql, { name, role }: NewUser): Promise<{ id: string }> {
  if (!NAME.test(name) || name === "me") {
    throw invalidArgument(
      "name",
      "use 1 to 64 of a-z, 0-9, '.', '_', '-', beginning with a letter or digit; not `me`.",
      {
        limit: 64,
      },
    );
  }
  try {
    const [row] = await sql.query({
      text: "INSERT INTO users (name, role) VALUES ($1, $2) RETURNING id",
      values: [name, role],
    });
    return { id: row?.id as string };
  } catch (error) {
    if (!(error instanceof SqlError && error.state === "23505")) throw error;
    throw new DataStreamError("already_exists", `A user named "${name}" exists already.`, {
      details: { field: "name" },
    });
  }
}

export async function findUserByName(sql: Sql, name: string): Promise<UserRow | undefined> {
  const rows = await sql.query(statement`
    SELECT id, name, role, email, email_verified, created_at FROM users WHERE name = ${name}`);
  return rows.map(parseUser)[0];
}

/** Users by name, after `after`. */
export async function listUsers(
  sql: Sql,
  { after, limit }: { readonly after: string | undefined; readonly limit: number },
): Promise<UserRow[]> {
  const rows = await sql.query(statement`
    SELECT id, name, role, email, email_verified, created_at FROM users
    WHERE ${after ?? null}::text IS NULL OR name COLLATE "C" > ${after ?? null}
    ORDER BY name COLLATE "C" LIMIT ${limit}`);
  return rows.map(parseUser);
}

export async function findUserRow(sql: Sql, id: string): Promise<UserRow | undefined> {
  const rows = await sql.query(
    statement`SELECT id, name, role, email, email_verified, created_at FROM users WHERE id = ${id}`,
  );
  return rows.map(parseUser)[0];
}

/**
 * A user may hold several keys.
 * @throws DataStreamError `failed_precondition` at the limit; SqlError when the user does not exist.
 */
export async function createApiKey(sql: Sql, { userId, name, keyHash }: NewApiKey): Promise<{ id: string }> {
  const [row] = await sql.query({
    text: `INSERT INTO api_keys (user_id, name, key_hash) SELECT $1::uuid, $2, $3
           WHERE (SELECT count(*) FROM api_keys WHERE user_id = $1 AND revoked_at IS NULL) < $4 RETURNING id`,
    values: [userId, name, keyHash, API_KEYS_MAX_PER_USER],
  });
  if (row !== undefined) return { id: textOf(row, "id") };
  throw new DataStreamError(
    "failed_precondition",
    `A user holds at most ${API_KEYS_MAX_PER_USER} API keys. Revoke one that is no longer used.`,
    { details: { limit: API_KEYS_MAX_PER_USER } },
  );
}

/** Newest first, revoked ones included. */
export async function listApiKeys(
  sql: Sql,
  userId: string,
  { after, limit }: { readonly after: ApiKeyPosition | undefined; readonly limit: number },
): Promise<ApiKeyRow[]> {
  const before = after === undefined ? null : new Date(after.createdAtMs).toISOString();
  const rows = await sql.query(statement`
    SELECT id, name, date_trunc('milliseconds', created_at) AS created_at, revoked_at FROM api_keys
    WHERE user_id = ${userId} AND (${before}::timestamptz IS NULL
      OR (date_trunc('milliseconds', created_at), id) < (${before}::timestamptz, ${after?.id ?? null}::uuid))
    ORDER BY date_trunc('milliseconds', created_at) DESC, id DESC LIMIT ${limit}`);
  return rows.map((row) => ({
    id: textOf(row, "id"),
    name: textOf(row, "name"),
    createdAt: dateOf(row, "created_at"),
    revokedAt: nullable(dateOf)(row, "revoked_at"),
  }));
}

export interface ApiKeyPosition {
  readonly createdAtMs: number;
  readonly id: string;
}

/** For good; again is no error. @returns whether the user has such a key. */
export async function revokeApiKey(sql: Sql, userId: string, keyId: string): Promise<boolean> {
  const rows = await sql.query(statement`
    UPDATE api_keys SET revoked_at = coalesce(revoked_at, now())
    WHERE id = ${keyId} AND user_id = ${userId} RETURNING id`);
  return rows.length > 0;
}

function parseUser(row: SqlRow): UserRow {
  return {
    id: textOf(row, "id"),
    name: textOf(row, "name"),
    role: textOf(row, "role") as Role,
    email: nullable(textOf)(row, "email"),
    emailVerified: booleanOf(row, "email_verified"),
    createdAt: dateOf(row, "created_at"),
  };
}

/** The user whose key has this SHA-256, unless the key was revoked. */
export async function findUserByKeyHash(sql: Sql, keyHash: Uint8Array): Promise<User | undefined> {
  const [row] = await sql.query({
    text: `SELECT u.id, u.name, u.role FROM api_keys k JOIN users u ON u.id = k.user_id
           WHERE k.key_hash = $1 AND k.revoked_at IS NULL`,
    values: [keyHash],
  });
  return row as User | undefined;
}
