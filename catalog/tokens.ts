/** Access tokens that were issued: their hashes, never the tokens. */
import type { Sql } from "../core/ports.ts";
import type { Scope } from "../core/access/scopes.ts";
import { type DatasetRow, datasetColumns, parseDataset, standingOf } from "./datasets.ts";
import type { Standing } from "../core/access/scopes.ts";
import { dateOf, nullable, statement, textOf, textsOf } from "./sql.ts";

export interface NewToken {
  readonly id: string;
  readonly datasetId: string;
  readonly issuedBy: string;
  /** SHA-256 of the whole token. */
  readonly tokenHash: Uint8Array;
  readonly scopes: readonly Scope[];
  readonly createdAt: Date;
  readonly expiresAt: Date;
  /** The training node whose key or certificate it is bound to. */
  readonly nodeId?: string;
}

/**
 * Notes a token and the share that it is made through, the longest one that carries every scope.
 * @returns false when the dataset version is no longer there, or neither the issuer's nor public nor shared so.
 */
export async function insertToken(sql: Sql, token: NewToken): Promise<boolean> {
  const rows = await sql.query(statement`
    INSERT INTO data_access_tokens
      (id, dataset_id, issued_by, token_hash, scopes, created_at, expires_at, node_id, share_id)
    SELECT ${token.id}::uuid, d.id, ${token.issuedBy}::uuid, ${token.tokenHash}::bytea, ${token.scopes}::text[],
      ${token.createdAt.toISOString()}::timestamptz, ${token.expiresAt.toISOString()}::timestamptz,
      ${token.nodeId ?? null}::uuid, s.id
    FROM datasets d LEFT JOIN LATERAL (
      SELECT id FROM dataset_shares
      WHERE dataset_id = d.id AND shared_with_user_id = ${token.issuedBy}::uuid AND d.owner_id <> ${token.issuedBy}::uuid
        AND (expires_at IS NULL OR expires_at > now()) AND ${token.scopes}::text[] <@ permissions
      ORDER BY expires_at DESC NULLS FIRST, id LIMIT 1 FOR KEY SHARE
    ) s ON true
    WHERE d.id = ${token.datasetId} AND d.state = 'ready' AND (d.owner_id = ${token.issuedBy}::uuid OR s.id IS NOT NULL
      OR is_public_copy(d.id))
    RETURNING id`);
  return rows.length === 1;
}

/** A token that is not revoked, nor its node, with what it opens and how its issuer stands to that now. */
export interface LiveToken {
  readonly id: string;
  readonly issuedBy: string;
  readonly scopes: readonly Scope[];
  readonly expiresAt: Date;
  /** The training node that it is bound to. */
  readonly nodeId: string | null;
  readonly dataset: DatasetRow;
  readonly standing: Standing;
}

/** Undefined when the token was never issued here, was revoked, or its dataset version is gone. NOT checked: expiry. */
export async function findLiveToken(sql: Sql, tokenHash: Uint8Array): Promise<LiveToken | undefined> {
  const { text, values } = statement`
    FROM data_access_tokens t
    JOIN dataset_summary d ON d.id = t.dataset_id
    JOIN objects m ON m.id = d.manifest_object_id
    LEFT JOIN dataset_shares s ON s.id = t.share_id AND (s.expires_at IS NULL OR s.expires_at > now())
    LEFT JOIN training_nodes n ON n.id = t.node_id
    WHERE t.token_hash = ${tokenHash} AND t.revoked_at IS NULL AND n.revoked_at IS NULL`;
  const [row] = await sql.query({
    text: `SELECT t.id AS token_id, t.issued_by, t.scopes, t.expires_at, t.node_id, d.owner_id = t.issued_by AS is_owner,
      COALESCE(s.permissions, CASE WHEN t.share_id IS NULL AND is_public_copy(d.id) THEN ARRAY['read', 'stream'] ELSE '{}' END)
        AS shared, ${datasetColumns("t.issued_by")} ${text}`,
    values,
  });
  if (row === undefined) return undefined;
  return {
    id: textOf(row, "token_id"),
    issuedBy: textOf(row, "issued_by"),
    scopes: textsOf(row, "scopes") as readonly Scope[],
    expiresAt: dateOf(row, "expires_at"),
    nodeId: nullable(textOf)(row, "node_id"),
    dataset: parseDataset(row),
    standing: standingOf(row),
  };
}

/**
 * Revokes a token that the user issued, or one for a dataset that the user owns. Revoking again is no error.
 * @returns the dataset version, or undefined when there is no such token that this user may revoke.
 */
export async function revokeToken(
  sql: Sql,
  userId: string,
  tokenId: string,
  now: Date,
): Promise<{ readonly datasetId: string } | undefined> {
  const [row] = await sql.query(statement`
    UPDATE data_access_tokens t SET revoked_at = COALESCE(t.revoked_at, ${now.toISOString()}::timestamptz)
    FROM datasets d
    WHERE t.id = ${tokenId} AND d.id = t.dataset_id AND (t.issued_by = ${userId} OR d.owner_id = ${userId})
    RETURNING t.dataset_id`);
  return row && { datasetId: textOf(row, "dataset_id") };
}

export interface IssuedTokenRow {
  readonly id: string;
  readonly datasetId: string;
  /** OWNER/NAME@VERSION */
  readonly dataset: string;
  /** Name of the user. */
  readonly issuedBy: string;
  /** Name of the training node that it is bound to. */
  readonly node: string | null;
  readonly scopes: readonly Scope[];
  readonly createdAt: Date;
  readonly expiresAt: Date;
  /** When it, or the node that it is bound to, was revoked. */
  readonly revokedAt: Date | null;
}

export interface TokenQuery {
  /** Of one dataset version, or all. */
  readonly datasetId: string | undefined;
  readonly after: { readonly createdAtMs: number; readonly id: string } | undefined;
  readonly limit: number;
}

/** Tokens that the user issued, or that open a dataset of theirs: those that they may revoke. Newest first. */
export async function listTokens(
  sql: Sql,
  userId: string,
  { datasetId, after, limit }: TokenQuery,
): Promise<readonly IssuedTokenRow[]> {
  const rows = await sql.query(statement`
    SELECT t.id, t.dataset_id, o.name || '/' || d.name || '@' || d.version AS dataset, u.name AS issued_by,
      n.name AS node, t.scopes, date_trunc('milliseconds', t.created_at) AS created_at, t.expires_at,
      LEAST(t.revoked_at, n.revoked_at) AS revoked_at
    FROM data_access_tokens t JOIN datasets d ON d.id = t.dataset_id JOIN users o ON o.id = d.owner_id
    JOIN users u ON u.id = t.issued_by LEFT JOIN training_nodes n ON n.id = t.node_id
    WHERE (t.issued_by = ${userId}::uuid OR d.owner_id = ${userId}::uuid)
      AND (${datasetId ?? null}::uuid IS NULL OR t.dataset_id = ${datasetId ?? null}::uuid)
      AND (${after?.id ?? null}::uuid IS NULL OR (date_trunc('milliseconds', t.created_at), t.id)
        < (to_timestamp(${after?.createdAtMs ?? 0}::float8 / 1000), ${after?.id ?? null}::uuid))
    ORDER BY date_trunc('milliseconds', t.created_at) DESC, t.id DESC LIMIT ${limit}`);
  return rows.map((row) => ({
    id: textOf(row, "id"),
    datasetId: textOf(row, "dataset_id"),
    dataset: textOf(row, "dataset"),
    issuedBy: textOf(row, "issued_by"),
    node: nullable(textOf)(row, "node"),
    scopes: textsOf(row, "scopes") as readonly Scope[],
    createdAt: dateOf(row, "created_at"),
    expiresAt: dateOf(row, "expires_at"),
    revokedAt: nullable(dateOf)(row, "revoked_at"),
  }));
}
