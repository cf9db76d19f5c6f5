/** How far a dataset is vouched for, and the gate that a stream has to pass. */
import { DataStreamError, invalidArgument } from "../errors.ts";

/** Numbers as on the wire; the smaller, the closer. */
export const TRUST_LABELS = ["self", "signed", "verified", "attested", "untrusted"] as const;
export type TrustLabel = (typeof TRUST_LABELS)[number];
export type TrustLevel = 0 | 1 | 2 | 3 | 4;

export const TRUST_SELF: TrustLevel = 0;
export const TRUST_SIGNED: TrustLevel = 1;
export const TRUST_VERIFIED: TrustLevel = 2;
export const TRUST_ATTESTED: TrustLevel = 3;
export const TRUST_UNTRUSTED: TrustLevel = 4;

/**
 * One thing that speaks for a dataset, already checked: signatures verified, keys and attestors looked up for the
 * user in question. Levels are computed from evidence on every read and never stored.
 */
export type TrustEvidence =
  /** The user owns the dataset. */
  | { readonly kind: "owner" }
  /** A key signed the dataset's statement. Anybody can register a key: it counts if the user or the deployment lists it. */
  | { readonly kind: "signature"; readonly keyListed: boolean }
  /** The files equal an entry of the public registry. */
  | { readonly kind: "registry" }
  /** An attestor's statement over the content hash. It counts if the attestor is listed and is not the owner. */
  | { readonly kind: "attestation"; readonly attestorListed: boolean; readonly byOwner: boolean };

function levelOf(evidence: TrustEvidence): TrustLevel {
  switch (evidence.kind) {
    case "owner":
      return TRUST_SELF;
    case "signature":
      return evidence.keyListed ? TRUST_SIGNED : TRUST_UNTRUSTED;
    case "registry":
      return TRUST_VERIFIED;
    case "attestation":
      return evidence.attestorListed && !evidence.byOwner ? TRUST_ATTESTED : TRUST_UNTRUSTED;
  }
}

/** The best level that any evidence gives; untrusted without evidence. */
export function effectiveTrust(evidence: readonly TrustEvidence[]): TrustLevel {
  return evidence
    .map(levelOf)
    .reduce<TrustLevel>((best, level) => (level < best ? level : best), TRUST_UNTRUSTED);
}

/**
 * The level to show: what the dataset has beside being one's own, since "self" says nothing that the owner does
 * not know. So an upload of a public dataset goes from self to verified.
 */
export function displayedTrust(evidence: readonly TrustEvidence[]): TrustLevel {
  const vouched = effectiveTrust(evidence.filter(({ kind }) => kind !== "owner"));
  return vouched === TRUST_UNTRUSTED ? effectiveTrust(evidence) : vouched;
}

export function trustLabel(level: TrustLevel): TrustLabel {
  return TRUST_LABELS[level];
}

/**
 * Reads a level from outside.
 * @throws `invalid_argument` naming the field.
 */
export function parseTrustLevel(value: number, field: string = "max_trust_level"): TrustLevel {
  if (Number.isInteger(value) && value >= TRUST_SELF && value <= TRUST_UNTRUSTED) return value as TrustLevel;
  throw invalidArgument(field, `must be from 0 (self) to 4 (untrusted), not ${value}.`, {
    limit: TRUST_UNTRUSTED,
  });
}

/**
 * Lets a stream pass if the dataset is trusted at least as much as the caller demands.
 * @param maxLevel 0, the strictest, when the caller says nothing.
 * @throws `permission_denied` naming both levels.
 */
export function gate(level: TrustLevel, maxLevel: TrustLevel): void {
  if (level <= maxLevel) return;
  throw new DataStreamError(
    "permission_denied",
    `The dataset's trust level is ${level} (${trustLabel(level)}), and max_trust_level is ${maxLevel} ` +
      `(${trustLabel(maxLevel)}). Raise max_trust_level if you accept such data, or have it signed or verified.`,
    { details: { trust_level: level, max_trust_level: maxLevel } },
  );
}
