/** The gateway in workerd through the Miniflare API: six R2 buckets, two Durable Object classes, on 127.0.0.1. */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { RATE_LIMITS } from "../../core/limits.ts";
import { convertV4MiniflareOptions, Miniflare, NoOpLog } from "miniflare";
import { bundleWorker } from "./bundle.ts";
import { ROOT } from "./paths.ts";
import { freePort, LOOPBACK } from "./ports.ts";

export const NODE_COUNT = 6;
const WORKER = "gateway";

export interface GatewayOptions {
  /** Buckets and Durable Objects are kept here between starts. */
  readonly directory: string;
  /** Plain-text bindings: variables and secrets. */
  readonly bindings: Readonly<Record<string, string>>;
  /** 0, the default, takes a free one, which then stays the same across `restart`. */
  readonly port?: number;
  readonly portOption?: string;
  /** Requests of a class in its window. Default: those of core/limits.ts. */
  readonly rateLimits?: Partial<Record<keyof typeof RATE_LIMITS, number>>;
  /** Module with the Worker's exports. Default functions/gateway.ts. */
  readonly entry?: string;
  /** Where V8's inspector listens; by default it does not. */
  readonly inspectorPort?: number;
  /** What the Worker logs, one line a call. Default: errors and warnings go to stderr. */
  readonly onLog?: (line: GatewayLog) => void;
}

export interface GatewayLog {
  readonly level: string;
  readonly message: string;
}

/** A storage node's bucket, driven from Node past the gateway. */
export type NodeBucket = Awaited<ReturnType<Miniflare["getR2Bucket"]>>;

export interface DispatchInit {
  readonly method: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array<ArrayBuffer>;
  readonly cf: Readonly<Record<string, unknown>>;
}

export interface Gateway {
  readonly url: string;
  /** @param node 1 to 6. Not valid after a restart: ask again. */
  bucket(node: number): Promise<NodeBucket>;
  /** Ends workerd and starts it anew, optionally with other bindings: nothing in memory survives, what is stored does. */
  restart(bindings?: Readonly<Record<string, string>>): Promise<void>;
  /** A request as the platform hands it over, together with what it says of the connection (`request.cf`). */
  dispatch(url: string, init: DispatchInit): Promise<Response>;
  /** Runs the scheduled handler once, to its end. */
  dispatchScheduled(): Promise<void>;
  /** Forgets the object's instance as the platform may at any time; its storage stays. */
  evict(className: "StreamSession" | "DatasetJob", name: string): Promise<void>;
  stop(): Promise<void>;
}

export async function startGateway(options: GatewayOptions): Promise<Gateway> {
  const modules = await bundleWorker(options.entry ?? join(ROOT, "functions/gateway.ts"));
  const port = await freePort(options.port ?? 0, options.portOption ?? "--port");
  guardWorkerd();

  let bindings = options.bindings;
  const start = async (): Promise<Miniflare> => {
    const miniflare = keepingSignals(
      () =>
        new Miniflare(
          convertV4MiniflareOptions({
            name: WORKER,
            host: LOOPBACK,
            port,
            cf: false,
            ...(options.inspectorPort !== undefined && {
              inspectorPort: options.inspectorPort,
              inspectorHost: LOOPBACK,
            }),
            telemetry: { enabled: false },
            log: new NoOpLog(),
            handleStructuredLogs: options.onLog ?? printProblems,
            resourcePersistencePath: options.directory,
            compatibilityDate: compatibilityDate(),
            modulesRoot: "/",
            modules: modules.map((module) => ({ ...module, path: `/${module.path}` })),
            bindings: { ...bindings },
            r2Buckets: Object.fromEntries(nodeNumbers().map((n) => [`NODE_${n}`, `node-${n}`])),
            ratelimits: rateLimiters(options.rateLimits),
            durableObjects: {
              STREAM_SESSIONS: { className: "StreamSession", useSQLite: true },
              DATASET_JOBS: { className: "DatasetJob", useSQLite: true },
              PROOF_LEDGERS: { className: "ProofLedger", useSQLite: true },
            },
          }),
        ),
    );
    await miniflare.ready;
    return miniflare;
  };

  let running = await start();
  return {
    url: `http://${LOOPBACK}:${port}`,
    bucket: (node) => running.getR2Bucket(`NODE_${node}`, WORKER),
    async restart(changed) {
      await running.dispose();
      bindings = { ...bindings, ...changed };
      running = await start();
    },
    dispatch: async (url, init) => {
      const answer = await running.dispatchFetch(url, init);
      return answer as unknown as Response;
    },
    async dispatchScheduled() {
      const worker = await running.getWorker(WORKER);
      const { outcome } = await worker.scheduled({ cron: "* * * * *" });
      if (outcome !== "ok") throw new Error(`The scheduled handler ended with "${outcome}".`);
    },
    evict: (className, name) => running.unsafeEvictDurableObject(WORKER, className, { name }),
    stop: () => running.dispose(),
  };
}

export function nodeNumbers(): number[] {
  return Array.from({ length: NODE_COUNT }, (_, index) => index + 1);
}

type RateLimiters = Record<string, { namespace_id: string; simple: { limit: number; period: 10 | 60 } }>;

function rateLimiters(changed: GatewayOptions["rateLimits"] = {}): RateLimiters {
  const classes = Object.keys(RATE_LIMITS) as (keyof typeof RATE_LIMITS)[];
  return Object.fromEntries(
    classes.map((name, index) => {
      const { requests, seconds } = RATE_LIMITS[name];
      const simple = { limit: changed[name] ?? requests, period: seconds };
      return [`RATE_${name.toUpperCase()}`, { namespace_id: `${index + 1}`, simple }];
    }),
  );
}

/** Miniflare would end this process on its own at the first signal; when to end is for the caller to decide. */
function keepingSignals<T>(make: () => T): T {
  const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
  const before = new Set(signals.flatMap((signal) => process.listeners(signal)));
  const made = make();
  for (const signal of signals) {
    for (const added of process.listeners(signal)) if (!before.has(added)) process.off(signal, added);
  }
  return made;
}

/** Makes Miniflare start workerd through a script that ends it when this process is killed. */
function guardWorkerd(): void {
  if (process.platform === "win32") return;
  const workerd = createRequire(import.meta.resolve("miniflare"))("workerd") as { default: string };
  process.env.CYXCLOUD_WORKERD = workerd.default;
  process.env.MINIFLARE_WORKERD_PATH = join(ROOT, "scripts/stack/workerd.sh");
}

/** The date that production runs under, so that both agree. */
function compatibilityDate(): string {
  const wrangler = readFileSync(join(ROOT, "wrangler.toml"), "utf8");
  const date = /^compatibility_date\s*=\s*"([\d-]+)"/m.exec(wrangler)?.[1];
  if (!date) throw new Error("wrangler.toml has no compatibility_date.");
  return date;
}

function printProblems({ level, message }: GatewayLog): void {
  if (level === "error" || level === "warn") process.stderr.write(`gateway ${level}: ${message}\n`);
}
