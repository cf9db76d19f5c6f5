/**
 * A real PostgreSQL server for the local stack and the tests, on 127.0.0.1 only.
 *
 * The server lives as long as this process: a shell in between holds a pipe to it and stops the server when
 * the pipe closes, so that even `kill -9` leaves no server behind.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { chownSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import pg from "pg";
import { freePort, LOOPBACK } from "./ports.ts";
import {
  type Account,
  postgresHome,
  reachableByOthers,
  serverAccount,
  sharedDirectory,
} from "./postgres-binaries.ts";

const SUPERUSER = "cyxcloud";
const START_TIMEOUT_MS = 60_000;
const STOP_TIMEOUT_MS = 20_000;
const POLL_MS = 15;
/** After a crash the old server's workers may hold its shared memory for a moment. */
const START_ATTEMPTS = 20;

/** Reader ends on EOF of the pipe (fd 3): then the server gets its fast shutdown. */
const SUPERVISOR =
  'exec 3<&0; "$@" 3<&- </dev/null & server=$!; { read -r _ <&3; kill -INT "$server" 2>/dev/null; } & wait "$server"';

/** SQLSTATE duplicate_database, and what it becomes when two are created at the same instant. */
const ALREADY_EXISTS = new Set<unknown>(["42P04", "23505"]);

const FAST = ["fsync=off", "synchronous_commit=off", "full_page_writes=off"];

export interface PostgresOptions {
  /** Holds the cluster; created when absent. One running server per directory. */
  readonly directory: string;
  /** 0, the default, takes a free one. */
  readonly port?: number;
  /** Named in the error when the port is busy. */
  readonly portOption?: string;
  /** False trades safety after a power cut for speed. Default true. */
  readonly durable?: boolean;
}

export interface Postgres {
  readonly port: number;
  /** Process id of the server itself. */
  readonly pid: number;
  /** `postgresql://…` of a database, by the superuser. Holds the password. */
  url(database?: string): string;
  /** Creates the database when it is absent, as a copy of `template` where given. */
  createDatabase(name: string, template?: string): Promise<void>;
  dropDatabase(name: string): Promise<void>;
  /** Resolves when the server has ended, for whatever reason. */
  readonly ended: Promise<void>;
  /** Waits for running statements to be cancelled and the last checkpoint. Idempotent. */
  stop(): Promise<void>;
}

export async function startPostgres(options: PostgresOptions): Promise<Postgres> {
  const account = serverAccount();
  const home = postgresHome(account);
  const directory = clusterDirectory(options.directory, account);
  const data = join(directory, "data");
  const password = initialise(home, directory, account, options.durable ?? true);
  await stopLeftover(data);

  const { child, port } = await launch(home, directory, account, options);
  const pid = Number(statusLines(data)[0]);
  const ended = new Promise<void>((settle) => child.once("exit", () => settle()));
  const url = (database = "postgres"): string =>
    `postgresql://${SUPERUSER}:${password}@${LOOPBACK}:${port}/${encodeURIComponent(database)}`;

  return {
    port,
    pid,
    url,
    ended,
    createDatabase: (name, template) => createDatabase(url(), name, template),
    dropDatabase: (name) =>
      administer(url(), `drop database if exists ${pg.escapeIdentifier(name)} with (force)`),
    async stop() {
      child.stdin?.destroy();
      if (await settlesWithin(ended, STOP_TIMEOUT_MS)) return;
      signal(pid, "SIGQUIT"); // ends at once; the next start recovers from the log
      await ended;
    },
  };
}

/** Where the server's account can reach it: the given directory, else one of ours under a shared parent. */
function clusterDirectory(wanted: string, account: Account | undefined): string {
  let directory = resolve(wanted);
  if (account && !reachableByOthers(resolve(directory, ".."))) {
    const key = createHash("sha256").update(directory).digest("hex").slice(0, 16);
    directory = join(sharedDirectory("cyxcloud-postgres"), key);
  }
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  if (account) chownSync(directory, account.uid, account.gid);
  return directory;
}

/** Creates the cluster unless it exists, and returns the superuser's password. */
function initialise(home: string, directory: string, account: Account | undefined, durable: boolean): string {
  const passwordFile = join(directory, "password");
  const data = join(directory, "data");
  if (existsSync(data)) return readFileSync(passwordFile, "utf8");

  // A crash half-way leaves only this, never a `data` that looks complete.
  const partial = join(directory, "data.partial");
  rmSync(partial, { recursive: true, force: true });
  const password = randomBytes(24).toString("hex");
  writeFileSync(passwordFile, password, { mode: 0o600 });
  if (account) chownSync(passwordFile, account.uid, account.gid);
  const made = spawnSync(
    join(home, "bin", "initdb"),
    [
      `--pgdata=${partial}`,
      `--username=${SUPERUSER}`,
      `--pwfile=${passwordFile}`,
      "--auth=scram-sha-256",
      "--encoding=UTF8",
      "--locale=C",
      "--locale-provider=builtin",
      "--builtin-locale=C.UTF-8",
      ...(durable ? [] : ["--no-sync"]),
    ],
    { ...account, cwd: "/", encoding: "utf8", env: { PATH: process.env.PATH, TZ: "UTC" } },
  );
  if (made.status !== 0) {
    throw new Error(`initdb failed: ${made.error?.message ?? made.stderr.trim()}`);
  }
  renameSync(partial, data);
  return password;
}

async function launch(
  home: string,
  directory: string,
  account: Account | undefined,
  options: PostgresOptions,
): Promise<{ child: ChildProcess; port: number }> {
  const data = join(directory, "data");
  let output = "";
  for (let attempt = 1; attempt <= START_ATTEMPTS; attempt++) {
    const port = await freePort(options.port ?? 0, options.portOption ?? "--database-port");
    const settings = [
      `listen_addresses=${LOOPBACK}`,
      `port=${port}`,
      "unix_socket_directories=",
      "max_connections=200",
      "timezone=UTC",
      ...(options.durable === false ? FAST : []),
    ];
    const child = spawn(
      "/bin/sh",
      [
        "-c",
        SUPERVISOR,
        "sh",
        join(home, "bin", "postgres"),
        "-D",
        data,
        ...settings.flatMap((s) => ["-c", s]),
      ],
      // Its own process group: Ctrl-C reaches the stack, which then stops the server last.
      {
        ...account,
        cwd: "/",
        detached: true,
        stdio: ["pipe", "pipe", "pipe"],
        env: { PATH: process.env.PATH, TZ: "UTC" },
      },
    );
    output = "";
    const keep = (chunk: Buffer): void => {
      output = (output + chunk.toString()).slice(-4_000);
    };
    child.stdout.on("data", keep);
    child.stderr.on("data", keep);
    if (await ready(child, data)) return { child, port };
    child.stdin.destroy();
    if (!/pre-existing shared memory|Address already in use/.test(output)) break;
    await delay(250);
  }
  throw new Error(`PostgreSQL did not start:\n${output.trim()}`);
}

/** The server writes its state into the last line of postmaster.pid. */
async function ready(child: ChildProcess, data: string): Promise<boolean> {
  const deadline = Date.now() + START_TIMEOUT_MS;
  while (child.exitCode === null && Date.now() < deadline) {
    if (statusLines(data)[7]?.trim() === "ready") return true;
    await delay(POLL_MS);
  }
  return false;
}

function statusLines(data: string): string[] {
  try {
    return readFileSync(join(data, "postmaster.pid"), "utf8").split("\n");
  } catch {
    return [];
  }
}

/**
 * Ends a server that still runs on these data, and removes the pid file of one that was killed: after a
 * reboot its number may belong to anything.
 */
async function stopLeftover(data: string): Promise<void> {
  const pid = Number(statusLines(data)[0] ?? 0);
  if (!pid) return;
  const deadline = Date.now() + STOP_TIMEOUT_MS;
  while (commandOf(pid).includes(data)) {
    signal(pid, Date.now() < deadline ? "SIGINT" : "SIGKILL");
    await delay(POLL_MS);
  }
  rmSync(join(data, "postmaster.pid"), { force: true });
}

function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8");
  } catch {
    return existsSync("/proc/self")
      ? ""
      : spawnSync("ps", ["-o", "command=", "-p", `${pid}`], { encoding: "utf8" }).stdout;
  }
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch {
    // It has ended already.
  }
}

async function createDatabase(serverUrl: string, name: string, template?: string): Promise<void> {
  const from = template === undefined ? "" : ` template ${pg.escapeIdentifier(template)}`;
  try {
    await administer(serverUrl, `create database ${pg.escapeIdentifier(name)}${from}`);
  } catch (error) {
    if (!ALREADY_EXISTS.has((error as { code?: string }).code)) throw error;
  }
}

async function administer(serverUrl: string, statement: string): Promise<void> {
  const client = new pg.Client({ connectionString: serverUrl });
  await client.connect();
  try {
    await client.query(statement);
  } finally {
    await client.end();
  }
}

async function settlesWithin(promise: Promise<void>, milliseconds: number): Promise<boolean> {
  const timeout = new AbortController();
  try {
    return await Promise.race([
      promise.then(() => true),
      delay(milliseconds, false, { signal: timeout.signal }).catch(() => false),
    ]);
  } finally {
    timeout.abort();
  }
}
