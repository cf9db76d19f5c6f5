/**
 * Signing and checking access tokens (JWT, RFC 7519) with Ed25519 (RFC 8037, named as in RFC 9864).
 *
 * As RFC 8725 advises, everything that a token says about its own verification is pinned here: the algorithm, the
 * type, and a key id that must equal one of the configured keys. Keys, URLs and certificates inside a header
 * are ignored, critical extensions are refused.
 */
import { importJWK, type JWK, jwtVerify, SignJWT } from "jose";
import { fromPayload, TOKEN_AUDIENCE, type TokenClaims, toPayload } from "../core/access/token-claims.ts";
import { DataStreamError } from "../core/errors.ts";
import { AuthenticationError, type Scheme } from "./challenge.ts";
import type { Clock } from "../core/ports.ts";
import { type Envelope, envelopeOf, preAuthentication } from "../core/trust/dsse.ts";

const ALGORITHM = "Ed25519";
const TYPE = "JWT";
/** Longer than any token that is signed here; nothing longer is parsed. */
const TOKEN_MAX_CHARACTERS = 4096;

interface SigningKey {
  readonly id: string;
  readonly publicKey: CryptoKey;
  readonly publicJwk: Readonly<Record<string, string>>;
  readonly sign: CryptoKey;
  /** When it begins to sign and to verify, and when it is over; seconds since 1970. */
  readonly notBefore: number;
  readonly expiresAt: number;
}

/** Public half of the configured keys, as `/.well-known/jwks.json` answers it. */
export interface PublicKeySet {
  readonly keys: readonly Readonly<Record<string, string>>[];
}

export class TokenSigner {
  readonly #issuer: string;
  readonly #keys: ReadonlyMap<string, SigningKey>;
  readonly #clock: Clock;

  private constructor(issuer: string, keys: readonly SigningKey[], clock: Clock) {
    this.#issuer = issuer;
    this.#keys = new Map(keys.map((key) => [key.id, key]));
    this.#clock = clock;
  }

  /**
   * @param secret JSON `{"keys": [private JWKs with kid]}`. A key may carry `nbf` and `exp` (seconds since 1970): it is
   *   published until `exp`, and verifies from `nbf` on until then. Of those in force the one with the latest `nbf`
   *   signs, of several the first.
   * @throws Error when the secret is not that; the message never quotes it.
   */
  static async load(
    secret: string,
    issuer: string,
    clock: Clock = { now: () => Date.now() },
  ): Promise<TokenSigner> {
    const keys = await Promise.all(parseSecret(secret).map(importKey));
    if (keys.length === 0) throw new Error("SIGNING_KEYS holds no key.");
    if (new Set(keys.map((key) => key.id)).size !== keys.length)
      throw new Error("SIGNING_KEYS holds two keys with one kid.");
    return new TokenSigner(issuer, keys, clock);
  }

  /** What is published now: the keys in force, and those that will be. */
  get jwks(): PublicKeySet {
    const now = this.#nowSeconds;
    return {
      keys: [...this.#keys.values()].filter((key) => now < key.expiresAt).map((key) => key.publicJwk),
    };
  }

  async sign(claims: TokenClaims): Promise<string> {
    const { id, sign } = this.#current();
    return new SignJWT(toPayload(claims, this.#issuer))
      .setProtectedHeader({ alg: ALGORITHM, typ: TYPE, kid: id })
      .sign(sign);
  }

  get #nowSeconds(): number {
    return this.#clock.now() / 1000;
  }

  /** @throws `internal` when the keys that were configured are all over, or not in force yet. */
  #current(): SigningKey {
    const now = this.#nowSeconds;
    const [first, ...others] = [...this.#keys.values()].filter((key) => isInForce(key, now));
    if (first === undefined) throw new DataStreamError("internal", "No key of SIGNING_KEYS is in force now.");
    return others.reduce((best, key) => (key.notBefore > best.notBefore ? key : best), first);
  }

  /**
   * Signs a statement of the gateway's own. Its type is signed with it, and never is that of a token.
   * @param payloadType media type.
   */
  async signStatement(payloadType: string, payload: Uint8Array): Promise<Envelope> {
    const message = preAuthentication(payloadType, payload) as Uint8Array<ArrayBuffer>;
    const { id, sign } = this.#current();
    const signature = await crypto.subtle.sign(ALGORITHM, sign, message);
    return envelopeOf(payloadType, payload, id, new Uint8Array(signature));
  }

  /** Whether the key of this id is published. */
  publishes(keyId: string): boolean {
    return this.jwks.keys.some(({ kid }) => kid === keyId);
  }

  /**
   * Claims of a token that one of the keys signed and that has not expired.
   * NOT checked: whether it was revoked, and what it is used for.
   * @param nowMs wall clock, milliseconds since 1970.
   * @param scheme as which it came.
   * @throws `unauthenticated`, with one message for every reason.
   */
  async verify(token: string, nowMs: number, scheme?: Scheme): Promise<TokenClaims> {
    if (token.length > TOKEN_MAX_CHARACTERS) throw invalidToken(scheme);
    try {
      const { payload } = await jwtVerify(
        token,
        (header) => {
          const key = this.#keys.get(header.kid ?? "");
          if (key === undefined || !isInForce(key, nowMs / 1000) || "crit" in header || header.typ !== TYPE)
            throw invalidToken(scheme);
          return key.publicKey;
        },
        {
          algorithms: [ALGORITHM],
          typ: TYPE,
          issuer: this.#issuer,
          audience: TOKEN_AUDIENCE,
          clockTolerance: 0,
          currentDate: new Date(nowMs),
          requiredClaims: ["exp", "iat", "sub", "jti"],
        },
      );
      const claims = fromPayload(payload, this.#issuer);
      if (claims !== undefined) return claims;
    } catch {
      // Why it failed is not passed on: the reasons of the library quote the token's payload.
    }
    throw invalidToken(scheme);
  }
}

/**
 * The one answer to a token that is malformed, forged, expired, revoked or unknown.
 * @param scheme as which it came.
 */
export function invalidToken(scheme: Scheme = "bearer"): DataStreamError {
  return new AuthenticationError(
    "access_token: the access token is not valid, has expired or was revoked. Create a new one.",
    { scheme, error: "invalid_token", details: { field: "access_token" } },
  );
}

/** SHA-256 of the whole token: what the database keeps. */
export async function tokenHash(token: string): Promise<Uint8Array> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(token)));
}

function parseSecret(secret: string): JWK[] {
  let parsed: unknown;
  try {
    parsed = JSON.parse(secret);
  } catch {
    throw new Error("SIGNING_KEYS is not JSON."); // the parser's own message would quote the secret
  }
  const keys = (parsed as { keys?: unknown } | null)?.keys;
  if (!Array.isArray(keys)) throw new Error('SIGNING_KEYS must be {"keys": […]}.');
  return keys as JWK[];
}

function isInForce({ notBefore, expiresAt }: SigningKey, nowSeconds: number): boolean {
  return notBefore <= nowSeconds && nowSeconds < expiresAt;
}

async function importKey(jwk: JWK & { readonly nbf?: unknown; readonly exp?: unknown }): Promise<SigningKey> {
  const { kty, crv, x, d, kid, nbf = 0, exp = Number.POSITIVE_INFINITY } = jwk;
  if (typeof nbf !== "number" || typeof exp !== "number" || !(nbf < exp))
    throw new Error("nbf and exp of a key of SIGNING_KEYS must be seconds since 1970, nbf the earlier.");
  if (kty !== "OKP" || crv !== ALGORITHM || !x || !d || !kid)
    throw new Error("Every key of SIGNING_KEYS must be a private Ed25519 JWK with kid.");
  const publicJwk = { kty, crv, x, kid, alg: ALGORITHM, use: "sig" };
  const [sign, publicKey] = await Promise.all([
    importJWK({ kty, crv, x, d }, ALGORITHM),
    importJWK({ kty, crv, x }, ALGORITHM),
  ]);
  if (sign instanceof Uint8Array || publicKey instanceof Uint8Array)
    throw new Error("SIGNING_KEYS holds a symmetric key.");
  return { id: kid, publicKey, publicJwk, sign, notBefore: nbf, expiresAt: exp };
}
