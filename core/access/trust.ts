import { TRUST_SELF, TRUST_UNTRUSTED, type TrustLevel } from "../dataset/trust.ts";

/** What is known of a dataset about trust, as read for one user. */
export interface TrustSubject {
  readonly ownerId: string;
  /** What evidence gives in the eyes of that user. */
  readonly vouchedLevel: TrustLevel;
}

/**
 * How far a dataset is vouched for: as the gate takes it for this user, and as it is shown to them. Shown is what it
 * has beside being one's own, since "self" says nothing that the owner does not know: so an upload of a public
 * dataset goes from self to verified.
 * @param userId the user for whom the subject was read.
 */
export function trustFor(
  { ownerId, vouchedLevel }: TrustSubject,
  userId: string,
): { readonly effective: TrustLevel; readonly displayed: TrustLevel } {
  const effective = ownerId === userId ? TRUST_SELF : vouchedLevel;
  return { effective, displayed: vouchedLevel === TRUST_UNTRUSTED ? effective : vouchedLevel };
}
