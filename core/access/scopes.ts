/** What a caller may do with a dataset version, and who may do it. */

/** What an access token can carry: `read` downloads files, `stream` receives batches. */
export type Scope = "read" | "stream";
export const SCOPES: readonly Scope[] = ["read", "stream"];

/**
 * `describe` covers what a reader needs in order to verify (info, files, manifest), so either scope
 * includes it. `share` covers passing on what one holds, `manage` deleting; issuing tokens is allowed scope by scope.
 */
export type Action = "describe" | Scope | "share" | "manage";

/** How a user stands to a dataset: its owner, or holder of unexpired shares. */
export interface Standing {
  readonly isOwner: boolean;
  /** Permissions of the shares that are valid now, as stored: `read`, `stream`, `reshare`. */
  readonly shared: readonly string[];
}

/** Whether a user who stands so to a dataset may do `action`. */
export function userMay(action: Action, standing: Standing): boolean {
  if (standing.isOwner) return true;
  if (action === "manage") return false;
  if (action === "describe") return SCOPES.some((scope) => standing.shared.includes(scope));
  if (action === "share") return standing.shared.includes("reshare");
  return standing.shared.includes(action);
}

/** Whether a token with these scopes may do `action`. No token shares or manages. */
export function tokenMay(action: Action, scopes: readonly Scope[]): boolean {
  if (action === "manage" || action === "share") return false;
  return action === "describe" ? scopes.length > 0 : scopes.includes(action);
}

export function isScope(value: unknown): value is Scope {
  return value === "read" || value === "stream";
}
