import { invalidArgument } from "../errors.ts";
import { TOKEN_TTL_DEFAULT_SECONDS, TOKEN_TTL_MAX_SECONDS, TOKEN_TTL_MIN_SECONDS } from "../limits.ts";
import { quoted } from "../text.ts";
import { isScope, type Scope, SCOPES } from "./scopes.ts";

/** What a caller asks a token for, as it came in. */
export interface TokenRequest {
  readonly scopes: readonly string[];
  /** 0 or undefined: 24 hours. */
  readonly ttlSeconds: number | undefined;
  /** Name or id of one of the user's training nodes. Empty or undefined: no node. */
  readonly node: string | undefined;
}

export interface TokenGrant {
  /** In the fixed order read, stream; each once. */
  readonly scopes: readonly Scope[];
  readonly ttlSeconds: number;
  /** Undefined: whoever has the token may use it. */
  readonly node: string | undefined;
}

/**
 * Checks a request for a token. NOT checked: whether there is such a node.
 * @throws `invalid_argument` naming the field and its limit.
 */
export function checkTokenRequest(request: TokenRequest): TokenGrant {
  const unknown = request.scopes.find((scope) => !isScope(scope));
  if (unknown !== undefined)
    throw invalidArgument("scopes", `${quoted(unknown)} is no scope. Use ${SCOPES.join(" and ")}.`, {
      allowed: SCOPES,
    });
  if (request.scopes.length === 0)
    throw invalidArgument("scopes", `name at least one of ${SCOPES.join(", ")}.`, { allowed: SCOPES });

  const asked = request.ttlSeconds ?? 0;
  const ttlSeconds = asked === 0 ? TOKEN_TTL_DEFAULT_SECONDS : asked;
  if (!Number.isSafeInteger(ttlSeconds) || ttlSeconds < TOKEN_TTL_MIN_SECONDS)
    throw invalidArgument(
      "ttl_seconds",
      `must be a whole number of at least ${TOKEN_TTL_MIN_SECONDS} seconds.`,
      {
        limit: TOKEN_TTL_MIN_SECONDS,
      },
    );
  if (ttlSeconds > TOKEN_TTL_MAX_SECONDS)
    throw invalidArgument(
      "ttl_seconds",
      `${ttlSeconds} is above ${TOKEN_TTL_MAX_SECONDS} seconds (30 days). Create another token later.`,
      { limit: TOKEN_TTL_MAX_SECONDS },
    );

  const node = request.node === "" ? undefined : request.node;
  return { scopes: SCOPES.filter((scope) => request.scopes.includes(scope)), ttlSeconds, node };
}
