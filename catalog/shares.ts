/** Who else may use a dataset version, and through whom. */
import type { SharePermission } from "../core/access/share-request.ts";
import type { Sql, SqlRow } from "../core/ports.ts";
import { dateOf, nullable, statement, textOf, textsOf } from "./sql.ts";
import type { User } from "./users.ts";

export type NewShare = {
  readonly datasetId: string;
  /** Who gives it: the owner, or a holder of a share that may be passed on. */
  readonly grantedBy: string;
  readonly permissions: readonly SharePermission[];
  /** Null: as long as the granter's own. */
  readonly expiresAt: Date | null;
} & (
  | { readonly userId: string }
  /** Whoever verifies this address; in lower case. */
  | { readonly email: string }
);

export interface ShareRow {
  readonly id: string;
  readonly datasetId: string;
  /** Whom it is for: a name, or the address that it was given to, to all but who holds it. */
  readonly user: string;
  /** Null where `user` is an address: whether it is anybody's, only who holds the share may know. */
  readonly userId: string | null;
  readonly grantedBy: string;
  readonly permissions: readonly SharePermission[];
  readonly createdAt: Date;
  /** Null: until it is withdrawn. */
  readonly expiresAt: Date | null;
}

const COLUMNS = `s.id, s.dataset_id, g.name AS granted_by, s.permissions, s.expires_at,
  date_trunc('milliseconds', s.created_at) AS created_at,
  CASE WHEN s.shared_with_user_id = $1::uuid THEN u.name ELSE COALESCE(s.shared_with_email, u.name) END AS shared_with,
  CASE WHEN s.shared_with_user_id = $1::uuid OR s.shared_with_email IS NULL THEN u.id END AS shared_with_id
  FROM dataset_shares s LEFT JOIN users u ON u.id = s.shared_with_user_id
  JOIN users g ON g.id = s.granters[cardinality(s.granters)]`;

/**
 * Shares with a user, in place of what this granter gave them before. Where that takes something away, the tokens and
 * shares made through the old one end.
 * @returns undefined when the granter does not hold, in one share that may be passed on, what is to be given.
 */
export async function putShare(sql: Sql, share: NewShare): Promise<ShareRow | undefined> {
  const { datasetId, grantedBy, permissions, expiresAt } = share;
  const [userId, email] = "userId" in share ? [share.userId, null] : [null, share.email];
  const [given] = await sql.query(statement`
    SELECT put_share(${datasetId}::uuid, ${grantedBy}::uuid, ${userId}::uuid, ${permissions}::text[],
      ${expiresAt?.toISOString() ?? null}::timestamptz, ${email}::text) AS id`);
  const id = nullable(textOf)(given ?? {}, "id");
  if (id === null) return undefined;
  const [row] = await sql.query({ text: `SELECT ${COLUMNS} WHERE s.id = $2::uuid`, values: [grantedBy, id] });
  return row && parseShare(row);
}

export interface SharePosition {
  readonly createdAtMs: number;
  readonly id: string;
}

/** The shares of a dataset version that the user holds, gave, or that hang on one of these; oldest first. */
export async function listShares(
  sql: Sql,
  datasetId: string,
  userId: string,
  page: { readonly after: SharePosition | undefined; readonly limit: number },
): Promise<readonly ShareRow[]> {
  const { after, limit } = page;
  const { text, values } = statement`
    WHERE (s.shared_with_user_id = ${userId}::uuid OR ${userId}::uuid = ANY (s.granters)) AND s.dataset_id = ${datasetId}
      AND (${after?.id ?? null}::uuid IS NULL OR (date_trunc('milliseconds', s.created_at), s.id)
        > (to_timestamp(${after?.createdAtMs ?? 0}::float8 / 1000), ${after?.id ?? null}::uuid))
    ORDER BY date_trunc('milliseconds', s.created_at), s.id LIMIT ${limit}`;
  const rows = await sql.query({ text: `SELECT ${COLUMNS} ${text}`, values });
  return rows.map(parseShare);
}

/**
 * Takes a share back, and with it every token and every share that was made through it. Whoever stands above it may,
 * and whoever holds it may give it up.
 * @returns false when there is no such share for this user.
 */
export async function removeShare(sql: Sql, shareId: string, userId: string): Promise<boolean> {
  const rows = await sql.query(statement`
    DELETE FROM dataset_shares WHERE id = ${shareId}
      AND (shared_with_user_id = ${userId}::uuid OR ${userId}::uuid = ANY (granters)) RETURNING id`);
  return rows.length === 1;
}

function parseShare(row: SqlRow): ShareRow {
  return {
    id: textOf(row, "id"),
    datasetId: textOf(row, "dataset_id"),
    user: textOf(row, "shared_with"),
    userId: nullable(textOf)(row, "shared_with_id"),
    grantedBy: textOf(row, "granted_by"),
    permissions: textsOf(row, "permissions") as readonly SharePermission[],
    createdAt: dateOf(row, "created_at"),
    expiresAt: nullable(dateOf)(row, "expires_at"),
  };
}

/** @param reference name or id. */
export async function findUserByReference(sql: Sql, reference: string): Promise<User | undefined> {
  const [row] = await sql.query(statement`
    SELECT id, name, role FROM users WHERE id::text = lower(${reference}) OR name = ${reference}
    ORDER BY id::text = lower(${reference}) DESC LIMIT 1`);
  return row as User | undefined;
}
