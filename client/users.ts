import { path, type Gateway } from "./http.ts";
import { pages } from "./pages.ts";

export type Role = "owner" | "admin";

export interface User {
  readonly id: string;
  readonly name: string;
  readonly role: Role;
  /** null: never signed in at a page. */
  readonly email: string | null;
  /** Whether shares with this address reach them. */
  readonly email_verified: boolean;
  readonly created_at: string;
}

/** An API key as lists show it, without the key itself. */
export interface ApiKey {
  readonly id: string;
  readonly name: string;
  readonly created_at: string;
  readonly revoked_at: string | null;
}

/** The key is shown this once. */
export interface NewApiKey {
  readonly id: string;
  readonly name: string;
  readonly key: string;
}

/** People and their API keys. Others than oneself are for administrators; `user` is a name, or `me`. */
export class Users {
  readonly #gateway: Gateway;

  constructor(gateway: Gateway) {
    this.#gateway = gateway;
  }

  me(): Promise<User> {
    return this.#gateway.json("GET", "/api/users/me");
  }

  create(name: string, role: Role): Promise<User & { readonly api_key: NewApiKey }> {
    return this.#gateway.json("POST", "/api/users", { json: { name, role } });
  }

  /** By name. */
  list(): AsyncGenerator<User> {
    return pages(this.#gateway, "/api/users", "users");
  }

  /**
   * Vouches for a user's e-mail address, so that shares with it reach them.
   * @param email left out: whichever the user chose.
   */
  verifyEmail(user: string, email?: string): Promise<{ readonly user: string; readonly email: string }> {
    const json = email === undefined ? {} : { email };
    return this.#gateway.json("PUT", path("api", "users", user, "verified-email"), { json });
  }

  createApiKey(user: string, name: string): Promise<NewApiKey> {
    return this.#gateway.json("POST", path("api", "users", user, "api-keys"), { json: { name } });
  }

  /** Newest first, revoked ones included. */
  apiKeys(user: string): AsyncGenerator<ApiKey> {
    return pages(this.#gateway, path("api", "users", user, "api-keys"), "api_keys");
  }

  /** For good, from the next request on. */
  async revokeApiKey(user: string, id: string): Promise<void> {
    await this.#gateway.call("DELETE", path("api", "users", user, "api-keys", id));
  }
}
