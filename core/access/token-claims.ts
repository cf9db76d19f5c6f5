/**
 * The claims of an access token: a JWT (RFC 7519) whose meaning is fixed here, apart from how it is signed.
 * Times are whole seconds since 1970.
 */
import { isUuid } from "../dataset/name.ts";
import { isScope, type Scope } from "./scopes.ts";

/** Whom tokens are for; any other audience is refused. */
export const TOKEN_AUDIENCE = "cyxcloud-datastream";

export interface TokenClaims {
  /** Id of the token, a UUID (`jti`). */
  readonly id: string;
  /** The user who issued it (`sub`). */
  readonly userId: string;
  /** The one dataset version that it opens (`dataset`). */
  readonly datasetId: string;
  readonly scopes: readonly Scope[];
  readonly issuedAt: number;
  readonly expiresAt: number;
}

/** The JWT payload of these claims. */
export function toPayload(claims: TokenClaims, issuer: string): Record<string, string | number> {
  return {
    iss: issuer,
    aud: TOKEN_AUDIENCE,
    sub: claims.userId,
    jti: claims.id,
    dataset: claims.datasetId,
    scope: claims.scopes.join(" "),
    iat: claims.issuedAt,
    exp: claims.expiresAt,
  };
}

/**
 * Claims of a payload whose signature was verified, or undefined when it is not exactly what
 * `toPayload` writes for this issuer: a claim is missing, has another type, or comes in addition.
 * Not checked: the clock.
 */
export function fromPayload(
  payload: Readonly<Record<string, unknown>>,
  issuer: string,
): TokenClaims | undefined {
  const { iss, aud, sub, jti, dataset, scope, iat, exp, ...others } = payload;
  if (iss !== issuer || aud !== TOKEN_AUDIENCE || Object.keys(others).length > 0) return undefined;
  if (typeof sub !== "string" || typeof jti !== "string" || typeof dataset !== "string") return undefined;
  if (![sub, jti, dataset].every(isUuid) || typeof scope !== "string") return undefined;
  if (!Number.isSafeInteger(iat) || !Number.isSafeInteger(exp)) return undefined;
  const scopes = scope.split(" ");
  if (!scopes.every(isScope) || new Set(scopes).size !== scopes.length) return undefined;
  return {
    id: jti,
    userId: sub,
    datasetId: dataset,
    scopes,
    issuedAt: iat as number,
    expiresAt: exp as number,
  };
}
