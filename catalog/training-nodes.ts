/** Training nodes: who may use access tokens that are bound to them. */
import { type Sql, SqlError, type SqlRow } from "../core/ports.ts";
import { DataStreamError } from "../core/errors.ts";
import { bytesOf, dateOf, nullable, statement, textOf } from "./sql.ts";

/** How a node proves that it is that node; the other one is null. */
export interface NodeProof {
  /** Ed25519, 32 bytes. */
  readonly publicKey: Uint8Array | null;
  /** SHA-256 of its client certificate. */
  readonly certificateSha256: Uint8Array | null;
}

export interface TrainingNode extends NodeProof {
  readonly id: string;
  readonly name: string;
  readonly createdAt: Date;
  readonly revokedAt: Date | null;
}

const COLUMNS =
  "id, name, public_key, certificate_sha256, date_trunc('milliseconds', created_at) AS created_at, revoked_at";

/** @throws `already_exists` while another node of the user has that name. */
export async function insertTrainingNode(
  sql: Sql,
  ownerId: string,
  name: string,
  { publicKey, certificateSha256 }: NodeProof,
): Promise<TrainingNode> {
  try {
    const [row] = await sql.query({
      text: `INSERT INTO training_nodes (owner_id, name, public_key, certificate_sha256)
        VALUES ($1, $2, $3, $4) RETURNING ${COLUMNS}`,
      values: [ownerId, name, publicKey, certificateSha256],
    });
    return parseNode(row ?? {});
  } catch (error) {
    if (!(error instanceof SqlError && error.constraint === "training_nodes_name")) throw error;
    throw new DataStreamError(
      "already_exists",
      "name: you have a training node of that name. Revoke it first.",
      {
        details: { field: "name" },
      },
    );
  }
}

export interface NodePosition {
  readonly createdAtMs: number;
  readonly id: string;
}

/** Newest first, revoked ones included. */
export async function listTrainingNodes(
  sql: Sql,
  ownerId: string,
  page: { readonly after: NodePosition | undefined; readonly limit: number },
): Promise<readonly TrainingNode[]> {
  const { after, limit } = page;
  const { text, values } = statement`
    FROM training_nodes WHERE owner_id = ${ownerId} AND (${after?.id ?? null}::uuid IS NULL
      OR (date_trunc('milliseconds', created_at), id)
        < (to_timestamp(${after?.createdAtMs ?? 0}::float8 / 1000), ${after?.id ?? null}::uuid))
    ORDER BY date_trunc('milliseconds', created_at) DESC, id DESC LIMIT ${limit}`;
  return (await sql.query({ text: `SELECT ${COLUMNS} ${text}`, values })).map(parseNode);
}

/** A node of the user that is not revoked. @param reference name or id. */
export async function findTrainingNode(
  sql: Sql,
  ownerId: string,
  reference: string,
): Promise<TrainingNode | undefined> {
  const { text, values } = statement`
    FROM training_nodes WHERE owner_id = ${ownerId} AND revoked_at IS NULL
      AND (id::text = lower(${reference}) OR name = ${reference})
    ORDER BY id::text = lower(${reference}) DESC LIMIT 1`;
  const [row] = await sql.query({ text: `SELECT ${COLUMNS} ${text}`, values });
  return row && parseNode(row);
}

/** Ends the node for good, and every token that is bound to it. @returns false when the user has no such node. */
export async function revokeTrainingNode(sql: Sql, ownerId: string, nodeId: string): Promise<boolean> {
  const rows = await sql.query(statement`
    UPDATE training_nodes SET revoked_at = COALESCE(revoked_at, now())
    WHERE id = ${nodeId} AND owner_id = ${ownerId} RETURNING id`);
  return rows.length === 1;
}

function parseNode(row: SqlRow): TrainingNode {
  return {
    id: textOf(row, "id"),
    name: textOf(row, "name"),
    publicKey: nullable(bytesOf)(row, "public_key"),
    certificateSha256: nullable(bytesOf)(row, "certificate_sha256"),
    createdAt: dateOf(row, "created_at"),
    revokedAt: nullable(dateOf)(row, "revoked_at"),
  };
}
