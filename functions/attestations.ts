/** Attestations of dataset versions, and who may make them. */
import type { DatasetRow } from "../catalog/datasets.ts";
import { type EvidenceRow, insertAttestation, withdrawAttestation } from "../catalog/evidence.ts";
import type { User } from "../catalog/users.ts";
import { isUuid } from "../core/dataset/name.ts";
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
 *   `permission_denied` for a key that may not attest this version; `failed_precondition` for one that was withdrawn.
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
    issuedAt: new Date(statement.issued_at * 1000),
    expiresAt,
  });
  if (recorded?.withdrawnAt)
    throw new DataStreamError(
      "failed_precondition",
      `envelope: what the attestor issued up to ${recorded.withdrawnAt.toISOString()} was withdrawn. Attest the version again.`,
      { details: { field: "envelope" } },
    );
  if (recorded !== undefined) return recorded;
  throw new DataStreamError(
    "permission_denied",
    "keyid: is on no list of attestors that is in force, was revoked, or belongs to the dataset's owner. " +
      "See who may attest with: cyxcloud attestors list",
    { details: { field: "keyid" } },
  );
}

/**
 * Takes one attestation back, for good: streams that needed it end. Only one that is issued later counts again.
 * @throws `not_found`, the same for one that does not exist and one that this user did not make.
 */
export async function retractAttestation(sql: Sql, user: User, id: string): Promise<void> {
  const by = { userId: user.id, isAdmin: user.role === "admin" };
  if (isUuid(id) && (await withdrawAttestation(sql, id, by))) return;
  throw new DataStreamError("not_found", "attestation: there is no such attestation that you may withdraw.", {
    details: { field: "attestation" },
  });
}
