/**
 * The claims of an access token: a JWT (RFC 7519) whose meaning is fixed here, apart from how it is signed.
 * Times are whole seconds since 1970.
 */
import { isUuid } from "../dataset/name.ts";
import { isScope, type Scope } from "./scopes.ts";

/** Whom tokens are for; any other audience is refused. */
export const TOKEN_AUDIENCE = "cyxcloud-datastream";

/** What the holder has to prove beside having the token (`cnf`, RFC 7800); thumbprints are SHA-256 in base64url. */
export type Confirmation =
  /** A key, by DPoP (RFC 9449): thumbprint of its JWK. */
  | { readonly kind: "key"; readonly thumbprint: string }
  /** A client certificate (RFC 8705): thumbprint of its DER form. */
  | { readonly kind: "certificate"; readonly thumbprint: string };

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
  /** Absent: whoever has the token may use it. */
  readonly confirmation?: Confirmation;
}

/** The JWT payload of these claims. */
export function toPayload(
  claims: TokenClaims,
  issuer: string,
): Record<string, string | number | Readonly<Record<string, string>>> {
  const { confirmation } = claims;
  return {
    iss: issuer,
    aud: TOKEN_AUDIENCE,
    sub: claims.userId,
    jti: claims.id,
    dataset: claims.datasetId,
    scope: claims.scopes.join(" "),
    iat: claims.issuedAt,
    exp: claims.expiresAt,
    ...(confirmation && { cnf: { [MEMBERS[confirmation.kind]]: confirmation.thumbprint } }),
  };
}

const MEMBERS: Readonly<Record<Confirmation["kind"], string>> = { key: "jkt", certificate: "x5t#S256" };
const THUMBPRINT = /^[A-Za-z0-9_-]{43}$/;

/** Undefined for anything but one known member with a thumbprint. */
function confirmationOf(cnf: unknown): Confirmation | undefined {
  if (typeof cnf !== "object" || cnf === null || Array.isArray(cnf)) return undefined;
  const [[member, thumbprint] = [], ...others] = Object.entries(cnf);
  const kind = (["key", "certificate"] as const).find((each) => MEMBERS[each] === member);
  if (kind === undefined || others.length > 0) return undefined;
  return typeof thumbprint === "string" && THUMBPRINT.test(thumbprint) ? { kind, thumbprint } : undefined;
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
  const { iss, aud, sub, jti, dataset, scope, iat, exp, cnf, ...others } = payload;
  if (iss !== issuer || aud !== TOKEN_AUDIENCE || Object.keys(others).length > 0) return undefined;
  if (typeof sub !== "string" || typeof jti !== "string" || typeof dataset !== "string") return undefined;
  if (![sub, jti, dataset].every(isUuid) || typeof scope !== "string") return undefined;
  if (!Number.isSafeInteger(iat) || !Number.isSafeInteger(exp)) return undefined;
  const scopes = scope.split(" ");
  if (!scopes.every(isScope) || new Set(scopes).size !== scopes.length) return undefined;
  const confirmation = confirmationOf(cnf);
  if ("cnf" in payload && confirmation === undefined) return undefined;
  return {
    id: jti,
    userId: sub,
    datasetId: dataset,
    scopes,
    issuedAt: iat as number,
    expiresAt: exp as number,
    ...(confirmation && { confirmation }),
  };
}
