import { path, type Gateway } from "./http.ts";
import { pages } from "./pages.ts";

export type SharePermission = "read" | "stream" | "reshare";

export interface Share {
  readonly id: string;
  readonly dataset_id: string;
  /** Name, or the e-mail address that was given. */
  readonly user: string;
  /** null of an e-mail address, to all but who holds the share. */
  readonly user_id: string | null;
  readonly granted_by: string;
  readonly permissions: readonly SharePermission[];
  readonly created_at: string;
  /** null: until it is withdrawn. */
  readonly expires_at: string | null;
}

export interface ShareOptions {
  /** Name, id, or e-mail address of whom to share with: an address counts once its user verified it. */
  readonly user: string;
  readonly permissions: readonly SharePermission[];
  /** Default: as long as one's own access. */
  readonly expiresAt?: Date;
}

/** Dataset versions shared with other users. */
export class Shares {
  readonly #gateway: Gateway;

  constructor(gateway: Gateway) {
    this.#gateway = gateway;
  }

  /** In place of what this user had from the caller before. */
  create(reference: string, { user, permissions, expiresAt }: ShareOptions): Promise<Share> {
    const json = { user, permissions, ...(expiresAt && { expires_at: expiresAt.toISOString() }) };
    return this.#gateway.json<Share>("POST", path("api", "datasets", reference, "shares"), {
      json,
      idempotent: true,
    });
  }

  /** Those that the caller holds, gave, or that hang on one of these, page by page. */
  list(reference: string): AsyncGenerator<Share> {
    return pages(this.#gateway, path("api", "datasets", reference, "shares"), "shares");
  }

  /** Ends it, with every token and share made through it. */
  async remove(shareId: string): Promise<void> {
    await this.#gateway.call("DELETE", path("api", "shares", shareId));
  }
}
