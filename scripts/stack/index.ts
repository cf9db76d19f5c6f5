/** The whole product on one machine: PostgreSQL, the Neon bridge, and the gateway with its six nodes. */
import { chmodSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { bootstrap } from "../bootstrap.ts";
import { checkAppliedMigrations } from "./applied-migrations.ts";
import { type Gateway, type GatewayLog, startGateway } from "./gateway.ts";
import { migrate } from "./migrate.ts";
import { startNeonBridge } from "./neon-bridge.ts";
import { freePort, LOOPBACK } from "./ports.ts";
import { type Postgres, startPostgres } from "./postgres.ts";
import { connectSql, type SqlConnection } from "./sql.ts";
import { claim, loadSecrets, saveSecrets, type StackSecrets } from "./state.ts";

const DATABASE = "cyxcloud";
/** A killed stack's workerd looks for its parent every second (workerd.sh), and until then holds port and storage. */
const ORPHAN_LIFETIME_MS = 1_500;
/** Private, except that the database server's account has to pass. */
const DIRECTORY_MODE = 0o711;
/** Tokens stay valid when the gateway's port changes. */
const ISSUER = "urn:cyxcloud:local";

export interface StackOptions {
  /** Everything is kept here between starts. Default: a temporary directory, removed by `stop`. */
  readonly directory?: string;
  /** Ports; 0, the default, takes a free one. */
  readonly gatewayPort?: number;
  readonly databasePort?: number;
  readonly bridgePort?: number;
  /** The user that the first start creates. Default "owner". */
  readonly ownerName?: string;
  /** False trades the database's safety after a power cut for speed. Default: true where a directory is given. */
  readonly durable?: boolean;
  /** Further bindings of the gateway, for example limits. */
  readonly bindings?: Readonly<Record<string, string>>;
  /** The Worker's module. Default functions/gateway.ts. */
  readonly entry?: string;
  /** Where the inspector of the gateway's isolate listens; by default it does not. */
  readonly inspectorPort?: number;
  readonly onLog?: (line: GatewayLog) => void;
}

export interface Stack {
  readonly gatewayUrl: string;
  /** Of the owner, who administers. */
  readonly apiKey: string;
  /** Holds the password. */
  readonly databaseUrl: string;
  readonly bridgeUrl: string;
  readonly gateway: Gateway;
  readonly postgres: Postgres;
  /** The gateway's database, past the gateway. */
  readonly sql: SqlConnection;
  /** Stops what `startStack` started, last first. Idempotent. */
  stop(): Promise<void>;
}

/** @throws PortBusyError, StackRunningError, MigrationsChangedError; whatever had started by then is stopped again. */
export async function startStack(options: StackOptions = {}): Promise<Stack> {
  const cleanup: (() => unknown)[] = [];
  const unwind = async (): Promise<void> => {
    for (let undo = cleanup.pop(); undo; undo = cleanup.pop()) await undo();
  };
  let stopping: Promise<void> | undefined;
  const stop = (): Promise<void> => (stopping ??= unwind());
  try {
    return await start(options, cleanup, stop);
  } catch (error) {
    await stop();
    throw error;
  }
}

async function start(
  options: StackOptions,
  cleanup: (() => unknown)[],
  stop: () => Promise<void>,
): Promise<Stack> {
  const directory = stateDirectory(options, cleanup);
  const { afterCrash, release } = claim(directory);
  cleanup.push(release);
  if (afterCrash) await delay(ORPHAN_LIFETIME_MS);
  const secrets = loadSecrets(directory);
  // Before anything starts, so that a busy port costs no time.
  await freePort(options.gatewayPort ?? 0, "--port");
  await freePort(options.bridgePort ?? 0, "--bridge-port");

  const postgres = await startPostgres({
    directory: join(directory, "postgres"),
    port: options.databasePort ?? 0,
    durable: options.durable ?? options.directory !== undefined,
  });
  cleanup.push(() => postgres.stop());
  await postgres.createDatabase(DATABASE);
  const databaseUrl = postgres.url(DATABASE);
  const sql = connectSql(databaseUrl);
  cleanup.push(() => sql.close());
  await checkAppliedMigrations(sql, directory);
  await migrate({ databaseUrl });
  const apiKey = await ensureOwner(sql, directory, secrets, options.ownerName ?? "owner");

  const bridge = await startNeonBridge({ databasePort: postgres.port, port: options.bridgePort ?? 0 });
  cleanup.push(() => bridge.stop());
  const gateway = await startGateway({
    directory: join(directory, "gateway"),
    port: options.gatewayPort ?? 0,
    bindings: {
      DATABASE_URL: databaseUrl,
      NEON_LOCAL: `${LOOPBACK}:${bridge.port}`,
      SIGNING_KEYS: secrets.signingKeys,
      ISSUER,
      ...options.bindings,
    },
    ...(options.entry !== undefined && { entry: options.entry }),
    ...(options.inspectorPort !== undefined && { inspectorPort: options.inspectorPort }),
    ...(options.onLog && { onLog: options.onLog }),
  });
  cleanup.push(() => gateway.stop());
  return {
    gatewayUrl: gateway.url,
    apiKey,
    databaseUrl,
    bridgeUrl: bridge.url,
    gateway,
    postgres,
    sql,
    stop,
  };
}

function stateDirectory(options: StackOptions, cleanup: (() => unknown)[]): string {
  if (options.directory !== undefined) {
    mkdirSync(options.directory, { recursive: true, mode: DIRECTORY_MODE });
    return resolve(options.directory);
  }
  const scratch = mkdtempSync(join(tmpdir(), "cyxcloud-"));
  chmodSync(scratch, DIRECTORY_MODE);
  cleanup.push(() => rmSync(scratch, { recursive: true, force: true }));
  return scratch;
}

/** The first start creates the owner; later ones find the key among the secrets. */
async function ensureOwner(
  sql: SqlConnection,
  directory: string,
  secrets: StackSecrets,
  ownerName: string,
): Promise<string> {
  const [row] = await sql.query({ text: "select exists (select from users) as present", values: [] });
  if (row?.present === true && secrets.apiKey !== undefined) return secrets.apiKey;
  const { apiKey } = await bootstrap(sql, { ownerName });
  saveSecrets(directory, { ...secrets, apiKey });
  return apiKey;
}
