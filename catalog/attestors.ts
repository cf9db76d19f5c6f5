/**
 * The list of attestors in its versions. Every change makes the next one, which expires: without somebody who renews
 * it, nobody is an attestor any more. Rows are only ever added to, so who was on which list stays known.
 */
import { DataStreamError } from "../core/errors.ts";
import { ATTESTORS_MAX } from "../core/limits.ts";
import { type Sql, SqlError, type SqlRow } from "../core/ports.ts";
import { booleanOf, bytesOf, dateOf, isRefusedBy, numberOf, statement, textOf } from "./sql.ts";

export interface AttestorList {
  readonly version: number;
  readonly createdAt: Date;
  readonly expiresAt: Date;
  /** Whether it has not expired. */
  readonly inForce: boolean;
}

export interface Attestor {
  readonly id: string;
  readonly name: string;
  readonly publicKey: Uint8Array;
  /** First version of the list that has it. */
  readonly addedIn: number;
}

/** The newest list, undefined where there never was one, and who is on it, by name. */
export async function readAttestors(
  sql: Sql,
): Promise<{ readonly list: AttestorList | undefined; readonly attestors: readonly Attestor[] }> {
  const lists = await sql.query(statement`
    SELECT version, created_at, expires_at, expires_at > now() AS in_force FROM attestor_lists
    ORDER BY version DESC LIMIT 1`);
  const rows = await sql.query(statement`
    SELECT id, name, public_key, added_in FROM attestors WHERE removed_in IS NULL ORDER BY name, id`);
  return { list: lists.map(parseList)[0], attestors: rows.map(parseAttestor) };
}

/** What a change says of the version that it makes. */
export interface ListChange {
  readonly changedBy: string;
  readonly expiresAt: Date;
}

/** @throws `already_exists` for a key that is on the list, `failed_precondition` when the list is full. */
export async function addAttestor(
  sql: Sql,
  attestor: Pick<Attestor, "name" | "publicKey">,
  change: ListChange,
): Promise<void> {
  const { name, publicKey } = attestor;
  const rows = await nextVersion(() =>
    sql.query(statement`
      WITH list AS (
        INSERT INTO attestor_lists (version, created_by, expires_at)
        SELECT coalesce((SELECT max(version) FROM attestor_lists), 0) + 1, ${change.changedBy}::uuid,
          ${change.expiresAt.toISOString()}::timestamptz
        WHERE (SELECT count(*) FROM attestors WHERE removed_in IS NULL) < ${ATTESTORS_MAX}
        RETURNING version
      )
      INSERT INTO attestors (name, public_key, added_in) SELECT ${name}::text, ${publicKey}::bytea, version FROM list
      RETURNING id`),
  );
  if (rows.length === 0)
    throw new DataStreamError(
      "failed_precondition",
      `The list has ${ATTESTORS_MAX} attestors. Remove one that is no longer needed.`,
      { details: { limit: ATTESTORS_MAX } },
    );
}

/**
 * What the attestor vouched for counts no more from this moment on. The new version ends when the one before would have.
 * @returns false when the key is not on the list.
 */
export async function removeAttestor(sql: Sql, publicKey: Uint8Array, changedBy: string): Promise<boolean> {
  const rows = await nextVersion(() =>
    sql.query(statement`
      WITH list AS (
        INSERT INTO attestor_lists (version, created_by, expires_at)
        SELECT l.version + 1, ${changedBy}::uuid, greatest(l.expires_at, now() + interval '1 second')
        FROM attestor_lists l
        WHERE EXISTS (SELECT FROM attestors WHERE public_key = ${publicKey}::bytea AND removed_in IS NULL)
        ORDER BY l.version DESC LIMIT 1
        RETURNING version
      )
      UPDATE attestors a SET removed_in = list.version FROM list
      WHERE a.public_key = ${publicKey}::bytea AND a.removed_in IS NULL RETURNING a.id`),
  );
  return rows.length === 1;
}

/** The same people on a new version, with a time of its own. */
export async function renewAttestors(sql: Sql, change: ListChange): Promise<void> {
  await nextVersion(() =>
    sql.query(statement`
      INSERT INTO attestor_lists (version, created_by, expires_at)
      SELECT coalesce(max(version), 0) + 1, ${change.changedBy}::uuid, ${change.expiresAt.toISOString()}::timestamptz
      FROM attestor_lists`),
  );
}

/** Of two changes at once the second finds its version taken, and nothing of it is done. */
async function nextVersion(change: () => Promise<readonly SqlRow[]>): Promise<readonly SqlRow[]> {
  try {
    return await change();
  } catch (error) {
    if (isRefusedBy(error, "attestors_listed_key"))
      throw new DataStreamError("already_exists", "public_key: is on the list already.", {
        details: { field: "public_key" },
      });
    if (error instanceof SqlError && error.state === "23505")
      throw new DataStreamError("aborted", "The list of attestors changed meanwhile. Try again.");
    throw error;
  }
}

function parseList(row: SqlRow): AttestorList {
  return {
    version: numberOf(row, "version"),
    createdAt: dateOf(row, "created_at"),
    expiresAt: dateOf(row, "expires_at"),
    inForce: booleanOf(row, "in_force"),
  };
}

function parseAttestor(row: SqlRow): Attestor {
  return {
    id: textOf(row, "id"),
    name: textOf(row, "name"),
    publicKey: bytesOf(row, "public_key"),
    addedIn: numberOf(row, "added_in"),
  };
}
