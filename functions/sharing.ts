/** Sharing a dataset version with other users, and taking that back. */
import { checkShareRequest, sharedAddress, type ShareRequest } from "../core/access/share-request.ts";
import { DataStreamError, invalidArgument } from "../core/errors.ts";
import { isUuid } from "../core/dataset/name.ts";
import type { DatasetRow } from "../catalog/datasets.ts";
import { findUserByReference, putShare, removeShare, type ShareRow } from "../catalog/shares.ts";
import { type AccessDeps, authorize } from "./access.ts";

/**
 * Shares the version that `reference` means to the user now.
 * @param withWhom name or id of a user; or an e-mail address, for the user who verified it or will. Whether there is
 *   one, the answer does not tell.
 * @throws what `authorize` and `checkShareRequest` throw; `not_found` for an unknown name or id; `permission_denied` when
 *   the granter does not hold, in one share, all that is to be given.
 */
export async function shareDataset(
  deps: AccessDeps,
  userId: string,
  reference: string,
  withWhom: string,
  request: ShareRequest,
): Promise<{ readonly dataset: DatasetRow; readonly share: ShareRow }> {
  const { dataset } = await authorize(deps, { kind: "user", userId }, reference, "share");
  const { permissions, expiresAt } = checkShareRequest(request, deps.clock.now());
  const share = await putShare(deps.sql, {
    datasetId: dataset.id,
    grantedBy: userId,
    ...(await granteeOf(deps, withWhom, [userId, dataset.ownerId])),
    permissions,
    expiresAt,
  });
  if (share !== undefined) return { dataset, share };
  throw new DataStreamError(
    "permission_denied",
    "permissions: you can pass on what one share of yours carries, no longer than it lasts, and not back to " +
      "those whom you have it from.",
    { details: { field: "permissions" } },
  );
}

async function granteeOf(
  { sql }: Pick<AccessDeps, "sql">,
  withWhom: string,
  excepted: readonly string[],
): Promise<{ readonly userId: string } | { readonly email: string }> {
  const email = sharedAddress(withWhom);
  if (email !== undefined) return { email };
  const user = await findUserByReference(sql, withWhom);
  if (user === undefined)
    throw new DataStreamError("not_found", "user: there is no such user.", { details: { field: "user" } });
  if (excepted.includes(user.id))
    throw invalidArgument("user", "name someone other than yourself and the owner.");
  return { userId: user.id };
}

/** @throws `not_found`, the same for a share that does not exist and for one that this user has no say in. */
export async function unshareDataset(deps: AccessDeps, userId: string, shareId: string): Promise<void> {
  if (isUuid(shareId) && (await removeShare(deps.sql, shareId, userId))) return;
  throw new DataStreamError("not_found", "share: there is no such share that you may withdraw.", {
    details: { field: "share" },
  });
}
