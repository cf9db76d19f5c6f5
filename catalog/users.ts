/** Users and their API keys. A key itself never reaches this module, only its SHA-256. */
import { DataStreamError, invalidArgument } from "../core/errors.ts";
import { type Sql, SqlError } from "../core/ports.ts";

export type Role = "admin" | "owner";

export interface User {
  readonly id: string;
  readonly name: string;
  readonly role: Role;
}

export interface NewUser {
  /** Unique; 1 to 64 lowercase letters, digits, `.`, `_`, `-`, beginning with a letter or digit. */
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
  if (!NAME.test(name)) {
    throw invalidArgument(
      "name",
      "use 1 to 64 of a-z, 0-9, '.', '_', '-', beginning with a letter or digit.",
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

export async function findUserByName(sql: Sql, name: string): Promise<User | undefined> {
  const [row] = await sql.query({ text: "SELECT id, name, role FROM users WHERE name = $1", values: [name] });
  return row as User | undefined;
}

/** A user may hold several keys. @throws SqlError when the user does not exist. */
export async function createApiKey(sql: Sql, { userId, name, keyHash }: NewApiKey): Promise<{ id: string }> {
  const [row] = await sql.query({
    text: "INSERT INTO api_keys (user_id, name, key_hash) VALUES ($1, $2, $3) RETURNING id",
    values: [userId, name, keyHash],
  });
  return { id: row?.id as string };
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
