import {
  displayedTrust,
  effectiveTrust,
  TRUST_VERIFIED,
  type TrustEvidence,
  type TrustLevel,
} from "../dataset/trust.ts";

/** The part of a dataset that evidence is drawn from. */
export interface TrustSubject {
  readonly ownerId: string;
  /** What public evidence gives to whoever is not the owner. */
  readonly publicTrustLevel: TrustLevel;
}

/** How far a dataset is vouched for: as the gate takes it for this user, and as it is shown to them. */
export function trustFor(
  { ownerId, publicTrustLevel }: TrustSubject,
  userId: string,
): { readonly effective: TrustLevel; readonly displayed: TrustLevel } {
  const evidence: TrustEvidence[] = [];
  if (ownerId === userId) evidence.push({ kind: "owner" });
  if (publicTrustLevel === TRUST_VERIFIED) evidence.push({ kind: "registry" });
  return { effective: effectiveTrust(evidence), displayed: displayedTrust(evidence) };
}
