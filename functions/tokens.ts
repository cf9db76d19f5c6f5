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
}

/** Public half of the configured keys, as `/.well-known/jwks.json` answers it. */
export interface PublicKeySet {
  readonly keys: readonly Readonly<Record<string, string>>[];
}

export class TokenSigner {
  readonly #issuer: string;
  readonly #keys: ReadonlyMap<string, SigningKey>;
  readonly #current: SigningKey;
  readonly jwks: PublicKeySet;

  private constructor(issuer: string, keys: readonly [SigningKey, ...SigningKey[]]) {
    this.#issuer = issuer;
    this.#keys = new Map(keys.map((key) => [key.id, key]));
    this.#current = keys[0];
    this.jwks = { keys: keys.map((key) => key.publicJwk) };
  }

  /**
   * @param secret JSON `{"keys": [private JWKs with kid]}`; the first signs, all verify.
   * @throws Error when the secret is not that; the message never quotes it.
   */
  static async load(secret: string, issuer: string): Promise<TokenSigner> {
    const keys = await Promise.all(parseSecret(secret).map(importKey));
    const [first, ...rest] = keys;
    if (first === undefined) throw new Error("SIGNING_KEYS holds no key.");
    if (new Set(keys.map((key) => key.id)).size !== keys.length)
      throw new Error("SIGNING_KEYS holds two keys with one kid.");
    return new TokenSigner(issuer, [first, ...rest]);
  }

  sign(claims: TokenClaims): Promise<string> {
    return new SignJWT(toPayload(claims, this.#issuer))
      .setProtectedHeader({ alg: ALGORITHM, typ: TYPE, kid: this.#current.id })
      .sign(this.#current.sign);
  }

  /**
   * Signs a statement of the gateway's own. Its type is signed with it, and never is that of a token.
   * @param payloadType media type.
   */
  async signStatement(payloadType: string, payload: Uint8Array): Promise<Envelope> {
    const message = preAuthentication(payloadType, payload) as Uint8Array<ArrayBuffer>;
    const signature = await crypto.subtle.sign(ALGORITHM, this.#current.sign, message);
    return envelopeOf(payloadType, payload, this.#current.id, new Uint8Array(signature));
  }

  /** Whether the key of this id is published. */
  publishes(keyId: string): boolean {
    return this.#keys.has(keyId);
  }

  /**
   * Claims of a token that one of the keys signed and that has not expired.
   * NOT checked: whether it was revoked, and what it is used for.
   * @param nowMs wall clock, milliseconds since 1970.
   * @throws `unauthenticated`, with one message for every reason.
   */
  async verify(token: string, nowMs: number): Promise<TokenClaims> {
    if (token.length > TOKEN_MAX_CHARACTERS) throw invalidToken();
    try {
      const { payload } = await jwtVerify(
        token,
        (header) => {
          const key = this.#keys.get(header.kid ?? "");
          if (key === undefined || "crit" in header || header.typ !== TYPE) throw invalidToken();
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
    throw invalidToken();
  }
}

/** The one answer to a token that is malformed, forged, expired, revoked or unknown. */
export function invalidToken(): DataStreamError {
  return new DataStreamError(
    "unauthenticated",
    "access_token: the access token is not valid, has expired or was revoked. Create a new one.",
    { details: { field: "access_token" } },
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

async function importKey(jwk: JWK): Promise<SigningKey> {
  const { kty, crv, x, d, kid } = jwk;
  if (kty !== "OKP" || crv !== ALGORITHM || !x || !d || !kid)
    throw new Error("Every key of SIGNING_KEYS must be a private Ed25519 JWK with kid.");
  const publicJwk = { kty, crv, x, kid, alg: ALGORITHM, use: "sig" };
  const [sign, publicKey] = await Promise.all([
    importJWK({ kty, crv, x, d }, ALGORITHM),
    importJWK({ kty, crv, x }, ALGORITHM),
  ]);
  if (sign instanceof Uint8Array || publicKey instanceof Uint8Array)
    throw new Error("SIGNING_KEYS holds a symmetric key.");
  return { id: kid, publicKey, publicJwk, sign };
}
