import type { Envelope } from "../core/trust/dsse.ts";
import { path, type Gateway } from "./http.ts";
import type { Evidence } from "./keys.ts";

/** Who may attest, as of the newest version of the list. Public keys are hexadecimal. */
export interface AttestorList {
  /** 0 before the first attestor. */
  readonly version: number;
  /** null of version 0, as is the other. */
  readonly created_at: string | null;
  readonly expires_at: string | null;
  /** Of a list that expired, or never was, nobody counts. */
  readonly in_force: boolean;
  readonly attestors: readonly {
    readonly name: string;
    readonly public_key: string;
    readonly added_in: number;
  }[];
}

/** Attestors, whom administrators list, and their attestations. Each change makes the next version of the list. */
export class Attestors {
  readonly #gateway: Gateway;

  constructor(gateway: Gateway) {
    this.#gateway = gateway;
  }

  list(): Promise<AttestorList> {
    return this.#gateway.json("GET", "/api/attestors");
  }

  add(attestor: { name: string; publicKey: string; ttlSeconds?: number }): Promise<AttestorList> {
    const { name, publicKey, ttlSeconds } = attestor;
    return this.#gateway.json("POST", "/api/admin/attestors", {
      json: { name, public_key: publicKey, ...(ttlSeconds !== undefined && { ttl_seconds: ttlSeconds }) },
    });
  }

  remove(publicKey: string): Promise<AttestorList> {
    return this.#gateway.json("DELETE", path("api", "admin", "attestors", publicKey));
  }

  renew(ttlSeconds?: number): Promise<AttestorList> {
    return this.#gateway.json("POST", "/api/admin/attestors/renew", {
      json: ttlSeconds === undefined ? {} : { ttl_seconds: ttlSeconds },
    });
  }

  /** Adds an attestation to a dataset version; make it with `encodeAttestation` and `signEnvelope`. */
  attest(reference: string, envelope: Envelope): Promise<Evidence> {
    return this.#gateway.json("POST", path("api", "datasets", reference, "attestations"), {
      json: { envelope },
    });
  }

  /** Takes back an attestation by a key of the caller, for good: it and what was issued before it count no more. */
  async withdraw(evidenceId: string): Promise<void> {
    await this.#gateway.call("DELETE", path("api", "attestations", evidenceId));
  }
}
