/**
 * Proofs that a request comes from the holder of a training node's key: DPoP (RFC 9449, section 4.3) with Ed25519
 * alone, and certificate-bound tokens (RFC 8705, section 3).
 */
import { base64url, calculateJwkThumbprint, decodeProtectedHeader, EmbeddedJWK, jwtVerify } from "jose";
import type { Confirmation } from "../core/access/token-claims.ts";
import type { DataStreamError } from "../core/errors.ts";
import {
  PROOF_AHEAD_SECONDS,
  PROOF_ID_MAX_CHARS,
  PROOF_LIFETIME_SECONDS,
  PROOF_MAX_CHARS,
} from "../core/limits.ts";
import { AuthenticationError, type Scheme } from "./challenge.ts";
import type { Presentation } from "./presentation.ts";

/** Remembers which proofs were used. */
export interface ProofLedger {
  /**
   * Notes a proof of this key. @returns false when it was used before.
   * @param expiresAtMs when it is too old anyway and may be forgotten; milliseconds since 1970.
   */
  useOnce(thumbprint: string, proofId: string, expiresAtMs: number): Promise<boolean>;
}

export interface ProofDeps {
  readonly proofs: ProofLedger;
  readonly clock: { now(): number };
}

const ALGORITHM = "Ed25519";
const TYPE = "dpop+jwt";

/** The name of a node's key inside tokens (RFC 7638): base64url of a SHA-256. */
export function keyThumbprint(publicKey: Uint8Array): Promise<string> {
  return calculateJwkThumbprint({ kty: "OKP", crv: ALGORITHM, x: base64url.encode(publicKey) });
}

/**
 * Lets a request pass whose token is bound to nothing, or that proves what its token is bound to.
 * @throws `unauthenticated` saying what has to be sent.
 */
export async function provePossession(
  deps: ProofDeps,
  token: string,
  confirmation: Confirmation | undefined,
  presentation: Presentation,
): Promise<void> {
  if (confirmation === undefined) {
    if (presentation.scheme === "dpop")
      throw refused("The access token is bound to no key: send it as Bearer.", "authorization", "bearer");
    return;
  }
  if (confirmation.kind === "certificate") {
    const { certificate } = presentation;
    if (certificate !== undefined && base64url.encode(certificate) === confirmation.thumbprint) return;
    throw refused(
      "client_certificate: the access token is bound to a training node's certificate: connect with that certificate.",
      "client_certificate",
      "bearer",
    );
  }
  const { thumbprint } = await verifyProof(deps, token, presentation, confirmation.thumbprint);
  if (thumbprint !== confirmation.thumbprint) throw badProof();
}

/**
 * Checks a fresh proof for this very request and credential, and uses it up.
 * @param credential the token or API key that goes with it.
 * @param expected thumbprint that the key must have; any other is refused before the proof is used up.
 * @throws `unauthenticated`, in one form of words.
 */
export async function verifyProof(
  deps: ProofDeps,
  credential: string,
  presentation: Presentation,
  expected?: string,
): Promise<{ readonly publicKey: Uint8Array; readonly thumbprint: string }> {
  const { proof, scheme } = presentation;
  if (proof === undefined || proof.length > PROOF_MAX_CHARS) throw badProof();
  if (expected !== undefined && scheme === "bearer") throw badProof();
  const { publicKey, claims } = await readProof(proof);
  const { htm, htu, iat, jti, ath } = claims;
  const nowSeconds = deps.clock.now() / 1000;
  const thumbprint = await keyThumbprint(publicKey);
  const isMeant =
    htm === presentation.method && sameTarget(htu, presentation.url) && ath === (await sha256(credential));
  const isFresh =
    typeof iat === "number" &&
    iat > nowSeconds - PROOF_LIFETIME_SECONDS &&
    iat < nowSeconds + PROOF_AHEAD_SECONDS;
  if (!isMeant || !isFresh || (expected !== undefined && thumbprint !== expected)) throw badProof();
  if (typeof jti !== "string" || jti.length < 1 || jti.length > PROOF_ID_MAX_CHARS) throw badProof();
  const forgetAt = Math.ceil((iat + PROOF_LIFETIME_SECONDS) * 1000);
  if (!(await deps.proofs.useOnce(thumbprint, jti, forgetAt))) throw badProof();
  return { publicKey, thumbprint };
}

/** The key that a proof carries and the claims that it signed. */
async function readProof(
  proof: string,
): Promise<{ publicKey: Uint8Array; claims: Partial<Record<string, unknown>> }> {
  try {
    const { jwk, crit } = decodeProtectedHeader(proof);
    const publicKey = base64url.decode(jwk?.x ?? "");
    const isKey =
      jwk?.kty === "OKP" && jwk.crv === ALGORITHM && jwk.x === base64url.encode(publicKey) && !("d" in jwk);
    if (isKey && publicKey.length === 32 && crit === undefined) {
      const { payload } = await jwtVerify(proof, EmbeddedJWK, { algorithms: [ALGORITHM], typ: TYPE });
      return { publicKey, claims: payload };
    }
  } catch {
    // Why it failed is not passed on: the reasons of the library quote what was sent.
  }
  throw badProof();
}

/** RFC 9449 compares the target without query and fragment. */
function sameTarget(claimed: unknown, url: string): boolean {
  if (typeof claimed !== "string" || !URL.canParse(claimed)) return false;
  const [asked, here] = [new URL(claimed), new URL(url)];
  return asked.origin === here.origin && asked.pathname === here.pathname && asked.username === "";
}

async function sha256(text: string): Promise<string> {
  return base64url.encode(
    new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text))),
  );
}

function badProof(): DataStreamError {
  return refused(
    "DPoP: send a fresh proof of the training node's key for this very request in the DPoP header (RFC 9449), and the " +
      "token as `Authorization: DPoP …` or in the message.",
    "DPoP",
    "dpop",
  );
}

function refused(message: string, field: string, scheme: Scheme): DataStreamError {
  const error = scheme === "dpop" ? "invalid_dpop_proof" : "invalid_token";
  return new AuthenticationError(message, { scheme, error, details: { field } });
}
