/**
 * The only place that builds adapters: bindings in, ports out. One `Deps` per isolate, for every surface
 * and both Durable Object classes.
 */
import { ChunkCache } from "../catalog/chunk-cache.ts";
import { listStorageNodes, type StorageNodeRow } from "../catalog/nodes.ts";
import type { Clock, ShardStore, Sql } from "../core/ports.ts";
import { DataStreamError } from "../core/errors.ts";
import {
  GC_GRACE_MS,
  INVOCATION_SUBREQUESTS,
  ISOLATE_BUDGET_BYTES,
  STREAM_SESSION_IDLE_MS,
  UPLOAD_LEASE_MS,
} from "../core/limits.ts";
import { type Kernels, loadKernels } from "../kernels/index.ts";
import { ByteBudget } from "../storage/byte-budget.ts";
import { HttpShardStore } from "../storage/http-shard-store.ts";
import type { StorageNodes } from "../storage/nodes.ts";
import { R2ShardStore } from "../storage/r2-shard-store.ts";
import { type Env, STORAGE_NODE_BINDINGS } from "./env.ts";
import { createLog, type Log } from "./log.ts";
import { cloudflareMailer, type Mailer } from "./mailer.ts";
import { neonSql } from "./neon.ts";
import { durableProofLedger } from "./proof-ledger.ts";
import type { ProofLedger } from "./proofs.ts";
import type { SignInDeps } from "./sign-in/sessions.ts";
import { TokenSigner } from "./tokens.ts";

export interface Config {
  /** `iss` of access tokens. */
  readonly issuer: string;
  /** Subrequests after which a stream hands over to a new invocation. */
  readonly invocationSubrequests: number;
  readonly gcGraceMs: number;
  readonly uploadLeaseMs: number;
}

/** What every surface works with. Values are shared by all requests of the isolate. */
export interface Deps {
  readonly sql: Sql;
  /** As of at most `NODES_TTL_MS` ago. */
  readonly nodes: StorageNodes;
  readonly kernels: Kernels;
  /** Where chunks lie, as far as the isolate looked it up. */
  readonly chunks: ChunkCache;
  /** Which proofs of training nodes were used. */
  readonly proofs: ProofLedger;
  /** Signs and checks access tokens. */
  readonly tokens: TokenSigner;
  /** The isolate's one bound on bytes held. */
  readonly budget: ByteBudget;
  readonly clock: Clock;
  readonly log: Log;
  readonly config: Config;
}

/** How long an isolate may miss a new storage node, or a change of one's state. */
const NODES_TTL_MS = 30_000;

interface Isolate {
  readonly env: Env;
  readonly base: Omit<Deps, "nodes" | "kernels" | "tokens">;
  tokens?: TokenSigner;
  kernels?: Promise<Kernels>;
  nodes?: { readonly value: StorageNodes; readonly readAt: number };
}

let isolate: Isolate | undefined;

/**
 * Adapters over this isolate's bindings. The first call compiles the kernels and reads the storage nodes and keys.
 * @throws DataStreamError `unavailable` when the database does not answer.
 */
export async function depsFrom(env: Env): Promise<Deps> {
  isolate ??= { env, base: baseFrom(env) };
  // Compiling is no I/O, and two instances would be too much memory: a request waits for what another began.
  isolate.kernels ??= loadKernels();
  const kernels = await isolate.kernels;
  // Everything else belongs to the request that asked for it, and only its outcome is shared.
  isolate.tokens ??= await TokenSigner.load(env.SIGNING_KEYS, env.ISSUER);
  const now = isolate.base.clock.now();
  if (isolate.nodes === undefined || now - isolate.nodes.readAt > NODES_TTL_MS) {
    isolate.nodes = { value: await readNodes(isolate.base.sql, env), readAt: now };
  }
  return { ...isolate.base, kernels, tokens: isolate.tokens, nodes: isolate.nodes.value };
}

/** What signing in needs beside the database. */
export function signInFrom(env: Env, { sql, log, config }: Deps): SignInDeps {
  return {
    sql,
    log,
    secret: env.SIGNING_KEYS,
    signUpIsOpen: env.SIGN_UP === "open",
    gatewayUrl: config.issuer,
    mailer: mailerFrom(env),
  };
}

function mailerFrom({ MAIL, MAIL_FROM }: Env): Mailer | undefined {
  return MAIL === undefined || !MAIL_FROM ? undefined : cloudflareMailer(MAIL, MAIL_FROM);
}

function baseFrom(env: Env): Isolate["base"] {
  const clock = { now: (): number => Date.now() };
  return {
    sql: neonSql(env.DATABASE_URL, env.NEON_LOCAL),
    chunks: new ChunkCache(clock),
    proofs: durableProofLedger(env.PROOF_LEDGERS),
    budget: new ByteBudget(ISOLATE_BUDGET_BYTES),
    clock,
    log: createLog(),
    config: {
      issuer: env.ISSUER,
      invocationSubrequests: override(env, "INVOCATION_SUBREQUESTS", INVOCATION_SUBREQUESTS),
      gcGraceMs: override(env, "GC_GRACE_MS", GC_GRACE_MS),
      uploadLeaseMs: override(env, "UPLOAD_LEASE_MS", UPLOAD_LEASE_MS),
    },
  };
}

/** Needs no adapters: a session's object asks on every attachment. */
export function streamSessionIdleMs(env: Env): number {
  return override(env, "STREAM_SESSION_IDLE_MS", STREAM_SESSION_IDLE_MS);
}

type Override = "INVOCATION_SUBREQUESTS" | "GC_GRACE_MS" | "UPLOAD_LEASE_MS" | "STREAM_SESSION_IDLE_MS";

function override(env: Env, name: Override, standard: number): number {
  const text = env[name];
  if (text === undefined || text === "") return standard;
  const value = Number(text);
  if (Number.isSafeInteger(value) && value > 0) return value;
  throw new DataStreamError("internal", `${name} must be a positive integer; unset it for ${standard}.`);
}

async function readNodes(sql: Sql, env: Env): Promise<StorageNodes> {
  const rows = await listStorageNodes(sql);
  return new Map(
    rows.map((row) => [row.id, { id: row.id, name: row.name, state: row.state, store: storeOf(env, row) }]),
  );
}

function storeOf(env: Env, { name, kind, address }: StorageNodeRow): ShardStore {
  if (kind === "http") return new HttpShardStore(address, name);
  const binding = STORAGE_NODE_BINDINGS.find((each) => each === address);
  const bucket = binding && (env[binding] as R2Bucket | undefined);
  if (bucket !== undefined) return new R2ShardStore(bucket, name);
  throw new DataStreamError(
    "internal",
    `The storage node ${name} is not bound to this gateway: bind ${address}.`,
  );
}
