import { invalidArgument } from "../errors.ts";
import { quoted } from "../text.ts";

/** What a share can carry: the two scopes, and the right to pass on what it carries. */
export type SharePermission = "read" | "stream" | "reshare";
export const SHARE_PERMISSIONS: readonly SharePermission[] = ["read", "stream", "reshare"];

/** What a user asks to share, as it came in. */
export interface ShareRequest {
  readonly permissions: readonly string[];
  /** Milliseconds since 1970; undefined: as long as the granter's own access. */
  readonly expiresAtMs: number | undefined;
}

export interface ShareGrant {
  /** In the fixed order read, stream, reshare; each once. */
  readonly permissions: readonly SharePermission[];
  readonly expiresAt: Date | null;
}

/**
 * Checks a request to share. NOT checked: whether the granter holds all that.
 * @param nowMs wall clock, milliseconds since 1970.
 * @throws `invalid_argument` naming the field and its limit.
 */
export function checkShareRequest(request: ShareRequest, nowMs: number): ShareGrant {
  const { permissions, expiresAtMs } = request;
  const unknown = permissions.find((each) => !SHARE_PERMISSIONS.some((known) => known === each));
  if (unknown !== undefined)
    throw invalidArgument("permissions", `${quoted(unknown)} is none. Use ${SHARE_PERMISSIONS.join(", ")}.`, {
      allowed: SHARE_PERMISSIONS,
    });
  if (!permissions.includes("read") && !permissions.includes("stream"))
    throw invalidArgument("permissions", "name at least one of read, stream: reshare alone opens nothing.", {
      allowed: SHARE_PERMISSIONS,
    });
  if (expiresAtMs !== undefined && !(expiresAtMs > nowMs && Number.isFinite(expiresAtMs)))
    throw invalidArgument(
      "expires_at",
      "must be a time in the future; leave it out for no limit of its own.",
    );
  return {
    permissions: SHARE_PERMISSIONS.filter((each) => permissions.includes(each)),
    expiresAt: expiresAtMs === undefined ? null : new Date(expiresAtMs),
  };
}

/** Longest e-mail address (RFC 5321). */
const EMAIL_MAX_CHARS = 254;

/**
 * The e-mail address that a share is for, in lower case, or undefined where `user` is none: names and ids have no `@`.
 * @throws `invalid_argument` for what no user's address can be.
 */
export function sharedAddress(user: string): string | undefined {
  if (!user.includes("@")) return undefined;
  if (/^[^\s@]+@[^\s@]+$/.test(user) && user.length <= EMAIL_MAX_CHARS) return user.toLowerCase();
  throw invalidArgument("user", `is no e-mail address of at most ${EMAIL_MAX_CHARS} characters.`, {
    limit: EMAIL_MAX_CHARS,
  });
}
