import { fromHex, toHex } from "../core/bytes.ts";
import {
  DATASET_STATEMENT_TYPE,
  type DatasetStatement,
  differingField,
  parseDatasetStatement,
} from "../core/trust/dataset-statement.ts";
import { type Envelope, openEnvelope, parseEnvelope } from "../core/trust/dsse.ts";
import type { KeyPair } from "../core/trust/ed25519.ts";
import { type KeyChallenge, signKeyProof } from "../core/trust/key-proof.ts";
import type { KnownKey } from "../core/trust/known-keys.ts";
import type { Dataset } from "./datasets.ts";
import { path, type Gateway } from "./http.ts";
import { pages } from "./pages.ts";

/** A registered key; the public key is hexadecimal. */
export interface SigningKey {
  readonly id: string;
  readonly name: string;
  readonly public_key: string;
  readonly created_at: string;
  readonly revoked_at: string | null;
}

export interface KnownKeyEntry {
  readonly name: string;
  readonly public_key: string;
  readonly created_at: string;
}

/** Whose list of known keys; administrators alone change the deployment's. */
export type KnownKeyScope = "own" | "deployment";

/** What speaks for a dataset version, as the gateway tells it. */
export interface Evidence {
  readonly id: string;
  readonly kind: "signature" | "registry" | "attestation";
  readonly public_key: string | null;
  readonly envelope: Envelope | null;
  readonly created_by: string | null;
  readonly created_at: string;
  readonly expires_at: string | null;
  /** When an attestation was taken back. */
  readonly withdrawn_at: string | null;
  readonly trust_level: number;
  readonly trust: string;
}

const KNOWN_KEYS = { own: "/api/known-keys", deployment: "/api/admin/known-keys" } as const;

/** Signing keys, known keys, and what was signed. A private key is used here and sent nowhere. */
export class Keys {
  readonly #gateway: Gateway;

  constructor(gateway: Gateway) {
    this.#gateway = gateway;
  }

  /** Registers the public half, proving that the private one is held. */
  async register(name: string, key: KeyPair): Promise<SigningKey> {
    const challenge = await this.#gateway.json<KeyChallenge>("GET", "/api/keys/challenge");
    const proof = signKeyProof(challenge, "signing-key", key);
    return this.#gateway.json("POST", "/api/keys", {
      json: { name, public_key: toHex(key.publicKey), proof },
    });
  }

  /** Oldest first, revoked ones included. */
  list(): AsyncGenerator<SigningKey> {
    return pages(this.#gateway, "/api/keys", "keys");
  }

  /** For good. */
  async revoke(id: string): Promise<void> {
    await this.#gateway.call("DELETE", path("api", "keys", id));
  }

  known(scope: KnownKeyScope = "own"): AsyncGenerator<KnownKeyEntry> {
    return pages(this.#gateway, KNOWN_KEYS[scope], "known_keys");
  }

  addKnown(
    { name, publicKey }: { name: string; publicKey: string },
    scope: KnownKeyScope = "own",
  ): Promise<KnownKeyEntry> {
    return this.#gateway.json("POST", KNOWN_KEYS[scope], { json: { name, public_key: publicKey } });
  }

  async removeKnown(publicKey: string, scope: KnownKeyScope = "own"): Promise<void> {
    await this.#gateway.call("DELETE", `${KNOWN_KEYS[scope]}${path(publicKey)}`);
  }

  /** Adds a signature to a dataset version; make it with `statementOf` and `signEnvelope`. */
  sign(reference: string, envelope: Envelope): Promise<Evidence> {
    return this.#gateway.json("POST", path("api", "datasets", reference, "signatures"), {
      json: { envelope },
    });
  }

  /** Oldest first, also what does not count for the caller. */
  evidence(reference: string): AsyncGenerator<Evidence> {
    return pages(this.#gateway, path("api", "datasets", reference, "evidence"), "evidence");
  }
}

/** What a signature on a version has to say. Take hashes that were verified, not what a gateway claims. */
export function statementOf(info: Dataset): DatasetStatement {
  const { owner, name, version, parent_id: parent, content_hash, schema_hash } = info;
  return { owner, name, version, parent, content_hash, schema_hash };
}

/**
 * The known key that signed this version, verified here from the envelopes that the gateway hands out; what the
 * gateway says of them does not matter.
 * @param info with hashes that were verified.
 */
export async function knownSigner(
  gateway: Gateway,
  info: Dataset,
  knownKeys: readonly KnownKey[],
): Promise<string | undefined> {
  if (knownKeys.length === 0) return undefined;
  const names = new Map(knownKeys.map(({ publicKey, name }) => [toHex(publicKey), name]));
  for await (const { kind, public_key: key, envelope } of new Keys(gateway).evidence(info.id)) {
    const name = key === null ? undefined : names.get(key);
    if (kind !== "signature" || name === undefined || key === null) continue;
    if (isSignedBy(envelope, fromHex(key) ?? new Uint8Array(), statementOf(info))) return name;
  }
  return undefined;
}

function isSignedBy(value: unknown, publicKey: Uint8Array, expected: DatasetStatement): boolean {
  let envelope: Envelope;
  try {
    envelope = parseEnvelope(value);
  } catch {
    return false;
  }
  const payload = openEnvelope(envelope, DATASET_STATEMENT_TYPE, publicKey);
  const signed = payload && parseDatasetStatement(payload);
  if (signed === undefined) return false;
  // The parent may have been deleted since; then the gateway no longer knows it, and the statement still does.
  const parent = expected.parent ?? signed.parent;
  return differingField(signed, { ...expected, parent }) === undefined;
}
