/** Attestations of dataset versions, and who may make them. */
import { type Attestor, type AttestorList, readAttestors } from "../catalog/attestors.ts";
import type { DatasetRow } from "../catalog/datasets.ts";
import { type EvidenceRow, insertAttestation } from "../catalog/evidence.ts";
import { DataStreamError, invalidArgument } from "../core/errors.ts";
import { ATTESTATION_CLOCK_SECONDS } from "../core/limits.ts";
import type { Clock, Sql } from "../core/ports.ts";
import { ATTESTATION_TYPE, type Attestation, parseAttestation } from "../core/trust/attestation-statement.ts";
import { openStatement, type StatementKind } from "../core/trust/signed-statement.ts";
import { statementOf } from "./signatures.ts";

const ATTESTATION: StatementKind<Attestation> = {
  type: ATTESTATION_TYPE,
  name: "an attestation",
  parse: parseAttestation,
};

/**
 * Verifies an attestation of this very version by a listed attestor, and records it in place of an earlier one by the
 * same key that ends sooner. Whoever may see the version may bring it: what counts is who signed.
 * @throws what `openStatement` throws; `invalid_argument` for one that expired or lies in the future;
 *   `permission_denied` for a key that may not attest this version.
 */
export async function addAttestation(
  deps: { readonly sql: Sql; readonly clock: Clock },
  userId: string,
  dataset: DatasetRow,
  value: unknown,
): Promise<EvidenceRow> {
  const { envelope, publicKey, statement } = openStatement(value, ATTESTATION, statementOf(dataset));
  const now = Math.floor(deps.clock.now() / 1000);
  if (statement.issued_at > now + ATTESTATION_CLOCK_SECONDS)
    throw invalidArgument("envelope", "its issued_at lies in the future. Set the attestor's clock.");
  if (statement.expires_at <= now)
    throw invalidArgument("envelope", "it has expired. Attest the version again.");
  const expiresAt = new Date(statement.expires_at * 1000);
  const recorded = await insertAttestation(deps.sql, {
    datasetId: dataset.id,
    userId,
    publicKey,
    envelope,
    expiresAt,
  });
  if (recorded !== undefined) return recorded;
  throw new DataStreamError(
    "permission_denied",
    "keyid: is on no list of attestors that is in force, was revoked, or belongs to the dataset's owner. " +
      "See who may attest with: cyxcloud attestors list",
    { details: { field: "keyid" } },
  );
}

/** The newest list. @throws `not_found` where there never was one. */
export async function requireAttestors(
  sql: Sql,
): Promise<{ readonly list: AttestorList; readonly attestors: readonly Attestor[] }> {
  const { list, attestors } = await readAttestors(sql);
  if (list === undefined)
    throw new DataStreamError(
      "not_found",
      "There is no list of attestors yet. An administrator makes one with: cyxcloud attestors add",
    );
  return { list, attestors };
}
