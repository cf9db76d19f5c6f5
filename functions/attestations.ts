/** Attestations of dataset versions, and who may make them. */
import { type Attestor, type AttestorList, readAttestors } from "../catalog/attestors.ts";
import type { DatasetRow } from "../catalog/datasets.ts";
import { type EvidenceRow, insertAttestation } from "../catalog/evidence.ts";
import { DataStreamError, invalidArgument } from "../core/errors.ts";
import { ATTESTATION_CLOCK_SECONDS } from "../core/limits.ts";
import type { Clock, Sql } from "../core/ports.ts";
import { ATTESTATION_TYPE, parseAttestation } from "../core/trust/attestation-statement.ts";
import { differingField } from "../core/trust/dataset-statement.ts";
import { keyOf, openEnvelope, parseEnvelope } from "../core/trust/dsse.ts";
import { statementOf } from "./signatures.ts";

/**
 * Verifies an attestation of this very version by a listed attestor, and records it in place of an earlier one by the
 * same key that ends sooner. Whoever may see the version may bring it: what counts is who signed.
 * @throws `invalid_argument` for an envelope that is malformed, not of this type or not signed by its key, or whose
 *   statement is about something else or expired; `permission_denied` for a key that may not attest this version.
 */
export async function addAttestation(
  deps: { readonly sql: Sql; readonly clock: Clock },
  userId: string,
  dataset: DatasetRow,
  value: unknown,
): Promise<EvidenceRow> {
  const envelope = parseEnvelope(value);
  const publicKey = keyOf(envelope);
  if (publicKey === undefined)
    throw invalidArgument("envelope", "keyid must be the public key as 64 lowercase hexadecimal digits.");
  const payload = openEnvelope(envelope, ATTESTATION_TYPE, publicKey);
  if (payload === undefined)
    throw invalidArgument(
      "envelope",
      `must be of type ${ATTESTATION_TYPE} and signed by the key that keyid names.`,
    );
  const attestation = parseAttestation(payload);
  if (attestation === undefined)
    throw invalidArgument("envelope", "its payload is not the canonical JSON of an attestation.");
  const expected = statementOf(dataset);
  const differs = differingField(attestation, expected);
  if (differs !== undefined)
    throw invalidArgument(
      "envelope",
      `it attests another version: ${differs} must be ${JSON.stringify(expected[differs])}.`,
      { statement_field: differs },
    );
  const now = Math.floor(deps.clock.now() / 1000);
  if (attestation.issued_at > now + ATTESTATION_CLOCK_SECONDS)
    throw invalidArgument("envelope", "its issued_at lies in the future. Set the attestor's clock.");
  if (attestation.expires_at <= now)
    throw invalidArgument("envelope", "it has expired. Attest the version again.");
  const expiresAt = new Date(attestation.expires_at * 1000);
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
