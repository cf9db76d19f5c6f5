/** Issuing, checking and revoking access tokens: the same for REST and for the datastream service. */
import { base64url } from "jose";
import type { Scope } from "../core/access/scopes.ts";
import type { Confirmation } from "../core/access/token-claims.ts";
import { checkTokenRequest, type TokenRequest } from "../core/access/token-request.ts";
import { DataStreamError } from "../core/errors.ts";
import { isUuid } from "../core/dataset/name.ts";
import type { DatasetRow } from "../catalog/datasets.ts";
import { findTrainingNode, type TrainingNode } from "../catalog/training-nodes.ts";
import { insertToken, revokeToken } from "../catalog/tokens.ts";
import { type AccessDeps, authorize, inspectToken } from "./access.ts";
import { keyThumbprint } from "./proofs.ts";
import { tokenHash } from "./tokens.ts";

export interface IssuedToken {
  readonly id: string;
  /** Shown once: only its hash is kept. */
  readonly token: string;
  readonly dataset: DatasetRow;
  readonly scopes: readonly Scope[];
  readonly expiresAt: Date;
  /** The training node that it is bound to. */
  readonly node: TrainingNode | undefined;
}

/**
 * Issues a token for the version that `reference` means to the user now.
 * @throws what `checkTokenRequest` and `authorize` throw; each scope needs the right to pass it on. `not_found` for a
 *   node that is not the user's own.
 */
export async function issueToken(
  deps: AccessDeps,
  userId: string,
  reference: string,
  request: TokenRequest,
): Promise<IssuedToken> {
  const { scopes, ttlSeconds, node: nodeReference } = checkTokenRequest(request);
  const caller = { kind: "user", userId } as const;
  const { dataset } = await authorize(deps, caller, reference, "describe");
  // By id, so that a version created meanwhile is not mixed in.
  for (const scope of scopes) await authorize(deps, caller, dataset.id, scope);

  const node =
    nodeReference === undefined ? undefined : await findTrainingNode(deps.sql, userId, nodeReference);
  if (nodeReference !== undefined && node === undefined)
    throw new DataStreamError("not_found", "node: you have no training node of this name or id.", {
      details: { field: "node" },
    });

  const id = crypto.randomUUID();
  const issuedAt = Math.floor(deps.clock.now() / 1000);
  const expiresAt = issuedAt + ttlSeconds;
  const token = await deps.tokens.sign({
    id,
    userId,
    datasetId: dataset.id,
    scopes,
    issuedAt,
    expiresAt,
    ...(node && { confirmation: await confirmationOf(node) }),
  });
  const row = {
    id,
    datasetId: dataset.id,
    issuedBy: userId,
    tokenHash: await tokenHash(token),
    scopes,
    createdAt: new Date(issuedAt * 1000),
    expiresAt: new Date(expiresAt * 1000),
    ...(node && { nodeId: node.id }),
  };
  if (!(await insertToken(deps.sql, row)))
    throw new DataStreamError(
      "aborted",
      "No single share of yours carries all these scopes, or access ended while the token was made. " +
        "Try again, or create one token for each scope.",
    );
  return { id, token, dataset, scopes, expiresAt: row.expiresAt, node };
}

async function confirmationOf({ publicKey, certificateSha256 }: TrainingNode): Promise<Confirmation> {
  if (publicKey !== null) return { kind: "key", thumbprint: await keyThumbprint(publicKey) };
  return { kind: "certificate", thumbprint: base64url.encode(certificateSha256 as Uint8Array) };
}

/**
 * Revokes a token for good; again without effect. Streams under it end within two seconds.
 * @throws `not_found`, the same for a token that does not exist and for one that is not this user's to revoke.
 */
export async function withdrawToken(deps: AccessDeps, userId: string, tokenId: string): Promise<void> {
  const now = new Date(deps.clock.now());
  const revoked = isUuid(tokenId) ? await revokeToken(deps.sql, userId, tokenId, now) : undefined;
  if (revoked !== undefined) return;
  throw new DataStreamError("not_found", "token_id: there is no such token that you may revoke.", {
    details: { field: "token_id" },
  });
}

export type TokenStatus =
  | {
      readonly valid: true;
      readonly datasetId: string;
      readonly scopes: readonly Scope[];
      readonly expiresAt: Date;
    }
  | { readonly valid: false };

/** What a token opens now. Whoever holds it may know. */
export async function tokenStatus(deps: AccessDeps, token: string): Promise<TokenStatus> {
  try {
    const { dataset, scopes, expiresAt } = await inspectToken(deps, token);
    return { valid: true, datasetId: dataset.id, scopes, expiresAt };
  } catch (error) {
    if (error instanceof DataStreamError && error.fault === "caller") return { valid: false };
    throw error;
  }
}
