/** What speaks for dataset versions. Whether a piece counts, and for whom, the database says anew with every read. */
import type { TrustLevel } from "../core/dataset/trust.ts";
import type { Envelope } from "../core/trust/dsse.ts";
import type { Sql, SqlRow } from "../core/ports.ts";
import { bytesOf, type CreationPosition, dateOf, nullable, numberOf, statement, textOf } from "./sql.ts";

export type EvidenceKind = "signature" | "registry" | "attestation";

export interface EvidenceRow {
  readonly id: string;
  readonly kind: EvidenceKind;
  /** Whose statement it is; null for the registry. */
  readonly publicKey: Uint8Array | null;
  /** As it was verified when it came; null for the registry. */
  readonly envelope: Envelope | null;
  /** Name of the user who brought it; null when they are gone. */
  readonly createdBy: string | null;
  readonly createdAt: Date;
  readonly expiresAt: Date | null;
  /** When its attestor, or an administrator, took it back. */
  readonly withdrawnAt: Date | null;
  /** What it gives now, in the eyes of the user who asked; 4: nothing. */
  readonly level: TrustLevel;
}

/**
 * Records a verified signature of a key of the user; one that the key made before is replaced, and those of the user's
 * revoked keys go, so that nobody piles up more on a version than they have keys.
 * @returns undefined when the key is not the user's, or was revoked, or the version is gone.
 */
export async function insertSignature(
  sql: Sql,
  {
    datasetId,
    userId,
    publicKey,
    envelope,
  }: {
    readonly datasetId: string;
    readonly userId: string;
    readonly publicKey: Uint8Array;
    readonly envelope: Envelope;
  },
): Promise<EvidenceRow | undefined> {
  // The lock orders this against a revocation: what is recorded was signed by a key that held.
  const [inserted] = await sql.query(statement`
    WITH revoked AS (
      DELETE FROM dataset_evidence e USING signing_keys s
      WHERE e.dataset_id = ${datasetId}::uuid AND e.kind = 'signature' AND s.public_key = e.public_key
        AND s.user_id = ${userId}::uuid AND s.revoked_at IS NOT NULL)
    INSERT INTO dataset_evidence (dataset_id, kind, public_key, envelope, created_by)
    SELECT d.id, 'signature', s.public_key, ${JSON.stringify(envelope)}::jsonb, s.user_id
    FROM datasets d, signing_keys s
    WHERE d.id = ${datasetId} AND d.state = 'ready'
      AND s.public_key = ${publicKey}::bytea AND s.user_id = ${userId} AND s.revoked_at IS NULL
    FOR SHARE OF s
    ON CONFLICT (dataset_id, kind, public_key, public_dataset_id) DO UPDATE SET envelope = EXCLUDED.envelope
    RETURNING id`);
  return inserted && findEvidence(sql, textOf(inserted, "id"), userId);
}

/**
 * Records a verified attestation; one that the key made before and that ends sooner, or was withdrawn, is replaced.
 * @returns the one that stands: `withdrawnAt` is set when this one was issued before a withdrawal. Undefined when the key is on no list in force, belongs to the version's owner or was revoked, or the
 *   version is gone.
 */
export async function insertAttestation(
  sql: Sql,
  {
    datasetId,
    userId,
    publicKey,
    envelope,
    issuedAt,
    expiresAt,
  }: {
    readonly datasetId: string;
    readonly userId: string;
    readonly publicKey: Uint8Array;
    readonly envelope: Envelope;
    readonly issuedAt: Date;
    readonly expiresAt: Date;
  },
): Promise<EvidenceRow | undefined> {
  // The lock orders this against a removal from the list.
  const [row] = await sql.query(statement`
    WITH subject AS (
      SELECT d.id FROM datasets d, attestors a
      WHERE d.id = ${datasetId} AND d.state = 'ready' AND a.public_key = ${publicKey}::bytea AND a.removed_in IS NULL
        AND (SELECT l.expires_at > now() FROM attestor_lists l ORDER BY l.version DESC LIMIT 1)
        AND NOT EXISTS (SELECT FROM signing_keys s
          WHERE s.public_key = a.public_key AND (s.user_id = d.owner_id OR s.revoked_at IS NOT NULL))
      FOR SHARE OF a
    ), inserted AS (
      INSERT INTO dataset_evidence AS e (dataset_id, kind, public_key, envelope, created_by, issued_at, expires_at)
      SELECT id, 'attestation', ${publicKey}::bytea, ${JSON.stringify(envelope)}::jsonb, ${userId}::uuid,
        ${issuedAt.toISOString()}::timestamptz, ${expiresAt.toISOString()}::timestamptz FROM subject
      ON CONFLICT (dataset_id, kind, public_key, public_dataset_id) DO UPDATE
        SET envelope = EXCLUDED.envelope, created_by = EXCLUDED.created_by, issued_at = EXCLUDED.issued_at,
          expires_at = EXCLUDED.expires_at
        WHERE EXCLUDED.issued_at > COALESCE(e.withdrawn_at, '-infinity')
          AND (e.expires_at < EXCLUDED.expires_at OR e.issued_at <= e.withdrawn_at)
      RETURNING id
    )
    SELECT id FROM inserted
    UNION SELECT e.id FROM subject JOIN dataset_evidence e ON e.dataset_id = subject.id
      AND e.kind = 'attestation' AND e.public_key = ${publicKey}::bytea`);
  return row && findEvidence(sql, textOf(row, "id"), userId);
}

/**
 * Takes an attestation back, with all that the attestor issued before on the same version. An attestor's clock may be
 * ahead, so that moment is at least the one which the attestation names. Again is no error.
 * @returns false when there is no such attestation that is by a key of this user, or that an administrator asked for.
 */
export async function withdrawAttestation(
  sql: Sql,
  id: string,
  by: { readonly userId: string; readonly isAdmin: boolean },
): Promise<boolean> {
  const rows = await sql.query(statement`
    UPDATE dataset_evidence e SET withdrawn_at = GREATEST(e.withdrawn_at, e.issued_at, now())
    WHERE e.id = ${id}::uuid AND e.kind = 'attestation' AND (${by.isAdmin}::boolean OR EXISTS (
      SELECT FROM signing_keys s WHERE s.public_key = e.public_key AND s.user_id = ${by.userId}::uuid))
    RETURNING e.id`);
  return rows.length === 1;
}

/** As `userId` sees it. */
async function findEvidence(sql: Sql, id: string, userId: string): Promise<EvidenceRow | undefined> {
  const [row] = await sql.query(statement`
    SELECT e.id, e.kind, e.public_key, e.envelope, u.name AS created_by, e.created_at, e.expires_at,
      CASE WHEN e.issued_at <= e.withdrawn_at THEN e.withdrawn_at END AS withdrawn_at, evidence_level(e, ${userId}::uuid) AS level
    FROM dataset_evidence e LEFT JOIN users u ON u.id = e.created_by WHERE e.id = ${id}`);
  return row && parseEvidence(row);
}

/** Oldest first. @param page.after where the page before ended. */
export async function listEvidence(
  sql: Sql,
  datasetId: string,
  userId: string,
  page: { readonly after: CreationPosition | undefined; readonly limit: number },
): Promise<readonly EvidenceRow[]> {
  const { after, limit } = page;
  const rows = await sql.query(statement`
    SELECT e.id, e.kind, e.public_key, e.envelope, u.name AS created_by, e.created_at, e.expires_at,
      CASE WHEN e.issued_at <= e.withdrawn_at THEN e.withdrawn_at END AS withdrawn_at, evidence_level(e, ${userId}::uuid) AS level
    FROM dataset_evidence e LEFT JOIN users u ON u.id = e.created_by
    WHERE e.dataset_id = ${datasetId} AND (${after?.id ?? null}::uuid IS NULL OR (date_trunc('milliseconds', e.created_at), e.id)
      > (to_timestamp(${after?.createdAtMs ?? 0}::float8 / 1000), ${after?.id ?? null}::uuid))
    ORDER BY date_trunc('milliseconds', e.created_at), e.id LIMIT ${limit}`);
  return rows.map(parseEvidence);
}

function parseEvidence(row: SqlRow): EvidenceRow {
  return {
    id: textOf(row, "id"),
    kind: textOf(row, "kind") as EvidenceKind,
    publicKey: nullable(bytesOf)(row, "public_key"),
    envelope: row["envelope"] as Envelope | null,
    createdBy: nullable(textOf)(row, "created_by"),
    createdAt: dateOf(row, "created_at"),
    expiresAt: nullable(dateOf)(row, "expires_at"),
    withdrawnAt: nullable(dateOf)(row, "withdrawn_at"),
    level: numberOf(row, "level") as TrustLevel,
  };
}
