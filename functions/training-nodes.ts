/** Registering training nodes: with proof that whoever asks has the node's key or certificate. */
import {
  insertTrainingNode,
  type NodeProof,
  revokeTrainingNode,
  type TrainingNode,
} from "../catalog/training-nodes.ts";
import { isUuid } from "../core/dataset/name.ts";
import { DataStreamError, invalidArgument } from "../core/errors.ts";
import { checkPublicKey } from "../core/trust/ed25519.ts";
import type { AccessDeps } from "./access.ts";
import type { Presentation } from "./presentation.ts";
import { verifyProof } from "./proofs.ts";

/**
 * Registers the key of the request's DPoP proof; without one, the client certificate of its connection.
 * @param credential the user's own, which the proof has to name: so a proof for one user registers nothing for another.
 * @throws `unauthenticated` for a proof that is not one; `invalid_argument` without any, or for an unsound key;
 *   `already_exists` for a name that is taken.
 */
export async function registerNode(
  deps: AccessDeps,
  user: { readonly id: string; readonly credential: string },
  name: string,
  presentation: Presentation,
): Promise<TrainingNode> {
  return insertTrainingNode(deps.sql, user.id, name, await proofOf(deps, user.credential, presentation));
}

async function proofOf(deps: AccessDeps, credential: string, presentation: Presentation): Promise<NodeProof> {
  if (presentation.proof !== undefined) {
    const { publicKey } = await verifyProof(deps, credential, presentation);
    checkPublicKey(publicKey, "DPoP");
    return { publicKey, certificateSha256: null };
  }
  if (presentation.certificate !== undefined)
    return { publicKey: null, certificateSha256: presentation.certificate };
  throw invalidArgument(
    "DPoP",
    "send a proof of the node's Ed25519 key over this request and your API key (RFC 9449), or connect with a client " +
      "certificate that this gateway accepts.",
  );
}

/** @throws `not_found`, the same for a node that does not exist and for another user's. */
export async function withdrawNode(deps: AccessDeps, userId: string, nodeId: string): Promise<void> {
  if (isUuid(nodeId) && (await revokeTrainingNode(deps.sql, userId, nodeId))) return;
  throw new DataStreamError("not_found", "node: you have no such training node.", {
    details: { field: "node" },
  });
}
