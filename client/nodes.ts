import type { KeyPair } from "../core/trust/ed25519.ts";
import { path, type Gateway } from "./http.ts";
import { pages } from "./pages.ts";

export interface TrainingNode {
  readonly id: string;
  readonly name: string;
  /** Ed25519 in base64url; null where the node has a certificate. */
  readonly public_key: string | null;
  readonly certificate_sha256: string | null;
  readonly created_at: string;
  readonly revoked_at: string | null;
}

/** Training nodes: a token that names one works with that node's proof alone. */
export class Nodes {
  readonly #gateway: Gateway;

  constructor(gateway: Gateway) {
    this.#gateway = gateway;
  }

  /**
   * Registers a node with proof that the caller has its key.
   * @param key left out: the certificate of the connection.
   */
  register(name: string, key?: KeyPair): Promise<TrainingNode> {
    return this.#gateway.json<TrainingNode>("POST", "/api/training-nodes", {
      json: { name },
      ...(key && { proofKey: key }),
    });
  }

  /** Newest first, revoked ones included. */
  list(): AsyncGenerator<TrainingNode> {
    return pages(this.#gateway, "/api/training-nodes", "nodes");
  }

  /** For good; tokens that are bound to it end. */
  async revoke(nodeId: string): Promise<void> {
    await this.#gateway.call("DELETE", path("api", "training-nodes", nodeId));
  }
}
