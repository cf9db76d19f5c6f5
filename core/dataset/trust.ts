/** How far a dataset is vouched for, and the gate that a stream has to pass. */
import { DataStreamError, invalidArgument } from "../errors.ts";

/**
 * Numbers as on the wire; the smaller, the closer. A level is computed by every read, from evidence and for one user,
 * by the database functions `dataset_vouched` and `dataset_trust`, and never stored.
 */
export const TRUST_LABELS = ["self", "signed", "verified", "attested", "untrusted"] as const;
export type TrustLabel = (typeof TRUST_LABELS)[number];
export type TrustLevel = 0 | 1 | 2 | 3 | 4;

export const TRUST_SELF: TrustLevel = 0;
export const TRUST_UNTRUSTED: TrustLevel = 4;

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
