/**
 * What an attestation says: somebody looked at this very version, claims this of it, and stands by it until then.
 * docs/formats/attestations-v1.md
 */
import { ATTESTATION_MAX_SECONDS, CLAIM_MAX_CHARS } from "../limits.ts";
import { type DatasetStatement, parseDatasetStatement } from "./dataset-statement.ts";
import { hasExactly } from "./dsse.ts";
import { parseCanonical, statementBytes } from "./statement.ts";

export const ATTESTATION_TYPE: string = "application/vnd.cyxcloud.attestation.v1+json";

export interface Attestation extends DatasetStatement {
  /** For people, for example "labels checked by two reviewers". Nothing is decided by it. */
  readonly claim: string;
  /** Seconds since 1970, by the attestor's clock. */
  readonly issued_at: number;
  /** Later than `issued_at` by at most `ATTESTATION_MAX_SECONDS`. */
  readonly expires_at: number;
}

const MEMBERS = [
  ...(["content_hash", "name", "owner", "parent", "schema_hash", "version"] as const),
  ...(["claim", "expires_at", "issued_at"] as const),
];

/** The payload of the envelope. */
export function encodeAttestation(attestation: Attestation): Uint8Array<ArrayBuffer> {
  const { owner, name, version, parent, content_hash, schema_hash } = attestation;
  const { claim, issued_at, expires_at } = attestation;
  const dataset = { owner, name, version, parent, content_hash, schema_hash };
  return statementBytes({ ...dataset, claim, issued_at, expires_at });
}

/** Reads a payload; undefined for anything but the canonical bytes of an attestation. NOT checked: whether it expired. */
export function parseAttestation(payload: Uint8Array): Attestation | undefined {
  const value = parseCanonical(payload);
  if (!hasExactly(value, MEMBERS)) return undefined;
  const { claim, issued_at, expires_at, ...rest } = value;
  const statement = parseDatasetStatement(statementBytes(rest));
  if (statement === undefined) return undefined;
  if (typeof claim !== "string" || claim === "" || claim.length > CLAIM_MAX_CHARS) return undefined;
  if (!isTime(issued_at) || !isTime(expires_at)) return undefined;
  const lifetime = expires_at - issued_at;
  if (lifetime <= 0 || lifetime > ATTESTATION_MAX_SECONDS) return undefined;
  return { ...statement, claim, issued_at, expires_at };
}

/** Up to the year 9999. */
function isTime(value: unknown): value is number {
  return typeof value === "number" && Number.isInteger(value) && value >= 0 && value < 253_402_300_800;
}
