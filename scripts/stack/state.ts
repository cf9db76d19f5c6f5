/** What the local stack keeps in its directory beside the data: who runs it, and its secrets. */
import { generateKeyPairSync, randomUUID } from "node:crypto";
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { TOKEN_TTL_MAX_SECONDS } from "../../core/limits.ts";
import { spawnSync } from "node:child_process";
import { join } from "node:path";

/** Another live process runs the stack in this directory. */
export class StackRunningError extends Error {
  override readonly name = "StackRunningError";
  readonly pid: number;
  constructor(directory: string, pid: number) {
    super(`The stack in ${directory} is already running as process ${pid}. Stop that one first: kill ${pid}`);
    this.pid = pid;
  }
}

export interface Claim {
  /** Whether the last owner was killed. What it had started may live for another moment. */
  readonly afterCrash: boolean;
  readonly release: () => void;
}

/** Claims the directory for this process. A killed owner's claim is void. */
export function claim(directory: string): Claim {
  mkdirSync(directory, { recursive: true });
  const file = join(directory, "running.json");
  const mine = JSON.stringify({ pid: process.pid, started: startOf(process.pid) });
  for (let afterCrash = false; ; afterCrash = true) {
    try {
      writeFileSync(file, mine, { flag: "wx" });
      return { afterCrash, release: () => rmSync(file, { force: true }) };
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    }
    const owner = readJson<{ pid: number; started: string }>(file);
    if (owner?.started && owner.started === startOf(owner.pid))
      throw new StackRunningError(directory, owner.pid);
    rmSync(file, { force: true });
  }
}

/** When a process started, as the system tells it; empty when there is none. Tells a reused number apart. */
function startOf(pid: number): string {
  try {
    // The name, in parentheses, may hold spaces; the start time is field 22 of the line.
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19] ?? "";
  } catch {
    return spawnSync("ps", ["-o", "lstart=", "-p", `${pid}`], { encoding: "utf8" }).stdout?.trim() ?? "";
  }
}

export interface StackSecrets {
  /** Value of the gateway's SIGNING_KEYS. */
  readonly signingKeys: string;
  /** The owner's API key, from the first start on. */
  readonly apiKey?: string;
}

export function loadSecrets(directory: string): StackSecrets {
  const file = join(directory, "secrets.json");
  const found = readJson<StackSecrets>(file);
  if (found) return found;
  const made = { signingKeys: createSigningKeys() };
  writePrivateJson(file, made);
  return made;
}

export function saveSecrets(directory: string, secrets: StackSecrets): void {
  writePrivateJson(join(directory, "secrets.json"), secrets);
}

/** A key set with one new private Ed25519 key. */
export function createSigningKeys(): string {
  const jwk = generateKeyPairSync("ed25519").privateKey.export({ format: "jwk" });
  return JSON.stringify({ keys: [{ ...jwk, kid: randomUUID(), alg: "Ed25519", use: "sig" }] });
}

/** From the moment a new key is published until it signs: caches of the published keys are older by then. */
const PUBLISHED_AHEAD_SECONDS = 3_600;
/** How long an old key verifies when it no longer signs: a day more than the longest life of a token. */
const RETIRING_SECONDS = TOKEN_TTL_MAX_SECONDS + 24 * 3_600;

/**
 * The key set that follows `current`: a new key that signs in an hour, older ones that verify until no token of theirs
 * lives, none that is over.
 * @param current value of SIGNING_KEYS.
 * @param nowMs milliseconds since 1970.
 * @throws Error when it is no key set; the message never quotes it.
 */
export function rotateSigningKeys(current: string, nowMs: number): string {
  let old: Record<string, unknown>[];
  try {
    old = (JSON.parse(current) as { keys: Record<string, unknown>[] }).keys.map((key) => ({ ...key }));
  } catch {
    throw new Error('SIGNING_KEYS must be {"keys": […]}.');
  }
  const now = Math.floor(nowMs / 1000);
  const nbf = now + PUBLISHED_AHEAD_SECONDS;
  const [added] = (JSON.parse(createSigningKeys()) as { keys: [Record<string, unknown>] }).keys;
  const exp = nbf + RETIRING_SECONDS;
  const kept = old.filter((key) => !(Number(key.exp) <= now)).map((key) => ({ ...key, exp: key.exp ?? exp }));
  return JSON.stringify({ keys: [{ ...added, nbf }, ...kept] });
}

/** Readable by this account only, and never seen half-written. */
export function writePrivateJson(file: string, value: unknown): void {
  const partial = `${file}.${process.pid}`;
  rmSync(partial, { force: true });
  writeFileSync(partial, `${JSON.stringify(value, null, 2)}\n`, { mode: 0o600 });
  renameSync(partial, file);
}

/** Undefined where there is no such file, or nothing sound in it. */
export function readJson<T>(file: string): T | undefined {
  try {
    return JSON.parse(readFileSync(file, "utf8")) as T;
  } catch {
    return undefined;
  }
}
