import type { ProofLedger } from "../durable-objects/proof-ledger.ts";
import type { StreamSessionObject } from "../durable-objects/stream-session.ts";

/**
 * What the platform hands to the Worker: bindings, variables and secrets, as `wrangler.toml` declares them.
 * `docs/configuration.md` explains each; only `functions/deps.ts` turns them into adapters.
 */
export interface Env
  extends Readonly<Record<StorageNodeBinding, R2Bucket>>, Readonly<Record<RateLimitBinding, RateLimit>> {
  readonly STREAM_SESSIONS: DurableObjectNamespace<StreamSessionObject>;
  readonly DATASET_JOBS: DurableObjectNamespace;
  readonly PROOF_LEDGERS: DurableObjectNamespace<ProofLedger>;
  /** Secret. PostgreSQL connection string of the pooled Neon host. */
  readonly DATABASE_URL: string;
  /** Secret. `{"keys": [private Ed25519 JWKs with kid]}`: with `nbf` and `exp` where they take turns. */
  readonly SIGNING_KEYS: string;
  /** `iss` of access tokens: the public URL of this gateway. */
  readonly ISSUER: string;
  /** `127.0.0.1:PORT` of the local stack's database bridge; unset in production. */
  readonly NEON_LOCAL?: string;
  /** `open` lets strangers create an account for themselves; else administrators create users. */
  readonly SIGN_UP?: string;
  /** Sends mail from `MAIL_FROM`; without both, administrators verify addresses. */
  readonly MAIL?: SendEmail;
  readonly MAIL_FROM?: string;
  /** Overrides of core/limits.ts, for tests: positive integers. */
  readonly INVOCATION_SUBREQUESTS?: string;
  readonly GC_GRACE_MS?: string;
  readonly UPLOAD_LEASE_MS?: string;
  readonly STREAM_SESSION_IDLE_MS?: string;
}

/** Rate limiters, one for each class of `RATE_LIMITS` in core/limits.ts. */
export type RateLimitBinding = "RATE_READ" | "RATE_WRITE" | "RATE_STREAM" | "RATE_SIGN_IN" | "RATE_ADDRESS";

/** Storage nodes of kind `r2` name one of these as their address. */
export type StorageNodeBinding = "NODE_1" | "NODE_2" | "NODE_3" | "NODE_4" | "NODE_5" | "NODE_6";

export const STORAGE_NODE_BINDINGS: readonly StorageNodeBinding[] = [
  "NODE_1",
  "NODE_2",
  "NODE_3",
  "NODE_4",
  "NODE_5",
  "NODE_6",
];
