/**
 * Proof of possession: before a gateway takes a public key for a user, the private key signs who registers it, where,
 * and when. So nobody registers a key of somebody else, and a proof is of no use at another gateway or later.
 * docs/formats/signatures-v1.md
 */
import { toHex } from "../bytes.ts";
import { invalidArgument } from "../errors.ts";
import { KEY_PROOF_MAX_AGE_SECONDS } from "../limits.ts";
import { type Envelope, hasExactly, openEnvelope, signEnvelope } from "./dsse.ts";
import { checkPublicKey, type KeyPair } from "./ed25519.ts";
import { parseCanonical, statementBytes } from "./statement.ts";

export const KEY_PROOF_TYPE: string = "application/vnd.cyxcloud.key-proof.v1+json";

/** What the gateway tells a user to sign. */
export interface KeyChallenge {
  /** The gateway's issuer name. */
  readonly audience: string;
  /** Id of the user. */
  readonly user: string;
  /** Seconds since 1970, of the gateway's clock. */
  readonly issued_at: number;
}

/** What the key becomes; a proof for one is none for the other. */
export type KeyPurpose = "signing-key" | "training-node";

export function signKeyProof(challenge: KeyChallenge, purpose: KeyPurpose, key: KeyPair): Envelope {
  const { audience, user, issued_at } = challenge;
  const public_key = toHex(key.publicKey);
  return signEnvelope(
    KEY_PROOF_TYPE,
    statementBytes({ audience, user, issued_at, purpose, public_key }),
    key,
  );
}

/**
 * @param expected.issued_at the gateway's time now; proofs from `KEY_PROOF_MAX_AGE_SECONDS` before it are accepted.
 * @throws `invalid_argument` for an unsound key and for a proof that is not by this key, for this challenge.
 */
export function checkKeyProof(
  proof: Envelope,
  publicKey: Uint8Array,
  expected: KeyChallenge,
  purpose: KeyPurpose,
): void {
  checkPublicKey(publicKey, "public_key");
  const payload = openEnvelope(proof, KEY_PROOF_TYPE, publicKey);
  if (payload === undefined)
    throw invalidArgument("proof", "is not signed by the private key of public_key. Sign a new challenge.");
  const claims = parseCanonical(payload);
  const sound =
    hasExactly(claims, ["audience", "user", "issued_at", "purpose", "public_key"]) &&
    claims.audience === expected.audience &&
    claims.user === expected.user &&
    claims.purpose === purpose &&
    claims.public_key === toHex(publicKey);
  if (!sound)
    throw invalidArgument("proof", "is for another user, gateway, purpose or key. Sign a new challenge.");
  const age = expected.issued_at - Number(claims.issued_at);
  if (Number.isSafeInteger(claims.issued_at) && age >= 0 && age <= KEY_PROOF_MAX_AGE_SECONDS) return;
  throw invalidArgument(
    "proof",
    `answers a challenge older than ${KEY_PROOF_MAX_AGE_SECONDS} seconds. Sign a new challenge.`,
    { limit: KEY_PROOF_MAX_AGE_SECONDS },
  );
}
