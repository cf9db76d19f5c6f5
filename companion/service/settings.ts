/** Every setting of the companion: its names in file, environment and flags, its default, and how its value is read. */
import { availableParallelism, homedir } from "node:os";
import { join, resolve } from "node:path";
import ms from "ms";
import { COMPANION_STREAMS_MAX } from "../../core/limits.ts";

/** What a setting's reader throws: the rest of a sentence that begins with its name. */
export class SettingError extends Error {}

export interface Setting<T> {
  /** In the file; the flag is this with hyphens. */
  readonly key: string;
  readonly environment: string;
  /** What `--help` calls the value. */
  readonly placeholder: string;
  readonly help: string;
  /** Read like any other value. Undefined: there is none. */
  readonly fallback: unknown;
  /** A list may be given several times, or separated by commas. */
  readonly isList?: boolean;
  /** Never shown, and not taken from the command line, where other processes can read it. */
  readonly isSecret?: boolean;
  /** @throws SettingError */
  readonly read: (value: unknown) => T;
}

function setting<T>(
  key: string,
  placeholder: string,
  help: string,
  fallback: unknown,
  read: (value: unknown) => T,
  more: Partial<Pick<Setting<T>, "environment" | "isList" | "isSecret">> = {},
): Setting<T> {
  return {
    key,
    environment: `CYXCLOUD_COMPANION_${key.toUpperCase()}`,
    placeholder,
    help,
    fallback,
    read,
    ...more,
  };
}

export interface ListenAddress {
  readonly kind: "tcp" | "unix";
  readonly host: string;
  readonly port: number;
  /** Of a Unix socket; empty for TCP. */
  readonly path: string;
}

/** The values of a configuration; undefined where a setting without default was not given. */
export interface Configuration {
  readonly gateway: string | undefined;
  readonly listen: ListenAddress;
  readonly handoff_socket: string | undefined;
  readonly node_key: string | undefined;
  readonly client_certificate: string | undefined;
  readonly client_key: string | undefined;
  readonly gateway_ca: string | undefined;
  readonly tls_certificate: string | undefined;
  readonly tls_key: string | undefined;
  readonly secret_file: string | undefined;
  readonly secret: string | undefined;
  readonly allowed_hosts: readonly string[];
  readonly allowed_origins: readonly string[];
  readonly backend: "auto" | "shm" | "cuda-hostreg" | "cuda-ipc";
  readonly shm_folder: string | undefined;
  readonly threads: number;
  readonly max_streams: number;
  readonly cache_folder: string;
  /** Bytes; 0 means no cache. */
  readonly cache_limit: number;
  readonly known_keys: string;
  readonly pins: string;
  /** Seconds, as are the two below; `exit_when_idle` 0 means never. */
  readonly gateway_patience: number;
  readonly drain_timeout: number;
  readonly exit_when_idle: number;
}

const configured = (file: string): string => join(homedir(), ".config", "cyxcloud", file);
const cacheFolder = (): string =>
  join(process.env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache"), "cyxcloud", "items");

export const SETTINGS: { readonly [K in keyof Configuration]: Setting<Configuration[K]> } = {
  gateway: setting(
    "gateway",
    "<url>",
    "gateway to stream from, unless a client names another",
    undefined,
    optional(url),
    {
      environment: "CYXCLOUD_GATEWAY",
    },
  ),
  listen: setting(
    "listen",
    "<host:port|unix:path>",
    "where gRPC, gRPC-Web, Connect and metrics are served",
    "127.0.0.1:50052",
    listenAddress,
  ),
  handoff_socket: setting(
    "handoff_socket",
    "<path>",
    "Unix socket that hands batches to local processes; by default in the user's runtime folder, named by the port",
    undefined,
    optional(path),
  ),
  node_key: setting(
    "node_key",
    "<name|file>",
    "key of the training node that access tokens are bound to",
    undefined,
    optional(text),
    { environment: "CYXCLOUD_NODE_KEY" },
  ),
  client_certificate: setting(
    "client_certificate",
    "<file>",
    "PEM certificate shown to the gateway",
    undefined,
    optional(path),
  ),
  client_key: setting("client_key", "<file>", "PEM key of the client certificate", undefined, optional(path)),
  gateway_ca: setting(
    "gateway_ca",
    "<file>",
    "PEM authorities that vouch for the gateway, in place of the system's",
    undefined,
    optional(path),
  ),
  tls_certificate: setting(
    "tls_certificate",
    "<file>",
    "PEM certificate to serve with, needed beyond loopback",
    undefined,
    optional(path),
  ),
  tls_key: setting("tls_key", "<file>", "PEM key of that certificate", undefined, optional(path)),
  secret_file: setting(
    "secret_file",
    "<file>",
    "file of the secret that callers have to send, needed beyond loopback",
    undefined,
    optional(path),
  ),
  secret: setting("secret", "<text>", "the secret itself", undefined, optional(secret), { isSecret: true }),
  allowed_hosts: setting(
    "allowed_hosts",
    "<name>",
    "host names beside loopback's under which requests may come",
    [],
    list,
    { isList: true },
  ),
  allowed_origins: setting("allowed_origins", "<origin>", "web origins that may call", [], list, {
    isList: true,
  }),
  backend: setting(
    "backend",
    "<name>",
    "auto, shm, cuda-hostreg or cuda-ipc",
    "auto",
    oneOf("auto", "shm", "cuda-hostreg", "cuda-ipc"),
  ),
  shm_folder: setting(
    "shm_folder",
    "<folder>",
    "where shared memory is mapped from (default: /dev/shm)",
    undefined,
    optional(path),
    { environment: "CYXCLOUD_SHM_FOLDER" },
  ),
  threads: setting("threads", "<n>", "threads that verify and decode", availableParallelism(), whole(1, 256)),
  max_streams: setting(
    "max_streams",
    "<n>",
    "streams at once",
    COMPANION_STREAMS_MAX,
    whole(1, COMPANION_STREAMS_MAX),
  ),
  cache_folder: setting("cache_folder", "<folder>", "where items are cached", cacheFolder(), path),
  cache_limit: setting(
    "cache_limit",
    "<size>",
    "most that the cache may take, for example 20GB; 0 means no cache",
    0,
    size,
  ),
  known_keys: setting(
    "known_keys",
    "<file>",
    "keys whose signatures of datasets are accepted",
    configured("known-keys"),
    path,
  ),
  pins: setting(
    "pins",
    "<file>",
    "where versions that were seen once are remembered",
    configured("pins.json"),
    path,
  ),
  gateway_patience: setting(
    "gateway_patience",
    "<duration>",
    "how long running streams wait for a gateway that is gone",
    "10m",
    duration,
  ),
  drain_timeout: setting(
    "drain_timeout",
    "<duration>",
    "how long a stopping companion waits for its clients",
    "30s",
    duration,
  ),
  exit_when_idle: setting(
    "exit_when_idle",
    "<duration>",
    "end after so long without a client; 0 means never",
    0,
    duration,
  ),
};

function optional<T>(read: (value: unknown) => T): (value: unknown) => T | undefined {
  return (value) => (value === undefined ? undefined : read(value));
}

function text(value: unknown): string {
  if (typeof value === "string" && value !== "") return value;
  throw new SettingError("must be a text.");
}

/** A relative path is taken from where the companion starts. */
function path(value: unknown): string {
  return resolve(text(value));
}

function url(value: unknown): string {
  const parsed = typeof value === "string" && URL.canParse(value) ? new URL(value) : undefined;
  if (parsed?.protocol === "http:" || parsed?.protocol === "https:") return parsed.href.replace(/\/+$/, "");
  throw new SettingError("must be a URL such as https://data.example.com.");
}

const SECRET_MIN_CHARS = 16;

function secret(value: unknown): string {
  const trimmed = text(value).trim();
  if (trimmed.length >= SECRET_MIN_CHARS && /^[\x21-\x7e]+$/.test(trimmed)) return trimmed;
  throw new SettingError(`must be at least ${SECRET_MIN_CHARS} visible characters without spaces.`);
}

/** The secret in a file, which ends with a line feed as text files do. @throws SettingError */
export const readSecret: (value: unknown) => string = secret;

function list(value: unknown): readonly string[] {
  const values = Array.isArray(value) ? (value as unknown[]) : text(value).split(",");
  return values.map((one) => text(one).trim().toLowerCase());
}

function listenAddress(value: unknown): ListenAddress {
  const given = text(value);
  if (given.startsWith("unix:")) return { kind: "unix", host: "", port: 0, path: path(given.slice(5)) };
  const parsed = /^(?:\[([0-9a-fA-F:]+)\]|([^:]+)):(\d{1,5})$/.exec(given);
  const port = Number(parsed?.[3]);
  if (parsed === null || port > 65_535) throw new SettingError("must be HOST:PORT or unix:PATH.");
  return { kind: "tcp", host: (parsed[1] ?? parsed[2]) as string, port, path: "" };
}

function whole(least: number, most: number): (value: unknown) => number {
  return (value) => {
    const number = typeof value === "string" && /^\d+$/.test(value) ? Number(value) : value;
    if (typeof number === "number" && Number.isInteger(number) && number >= least && number <= most)
      return number;
    throw new SettingError(`must be a whole number from ${least} to ${most}.`);
  };
}

function oneOf<T extends string>(...allowed: readonly T[]): (value: unknown) => T {
  return (value) => {
    const found = allowed.find((one) => one === value);
    if (found !== undefined) return found;
    throw new SettingError(`must be one of ${allowed.join(", ")}.`);
  };
}

/** Seconds of `90s`, `10m`, `2h`; a bare number is seconds. */
function duration(value: unknown): number {
  if (typeof value === "number" && value >= 0) return value;
  const given = typeof value === "string" ? value.trim() : "";
  if (/^\d+(\.\d+)?$/.test(given)) return Number(given);
  const milliseconds = /^\d/.test(given) ? ms(given as ms.StringValue) : undefined;
  if (milliseconds !== undefined) return milliseconds / 1000;
  throw new SettingError("must be a duration such as 30s, 10m or 2h, or a number of seconds.");
}

const UNITS: Readonly<Record<string, number>> = {
  "": 1,
  kb: 1e3,
  mb: 1e6,
  gb: 1e9,
  tb: 1e12,
  kib: 2 ** 10,
  mib: 2 ** 20,
  gib: 2 ** 30,
  tib: 2 ** 40,
};

function size(value: unknown): number {
  if (typeof value === "number" && Number.isSafeInteger(value) && value >= 0) return value;
  const parsed = /^(\d+(?:\.\d+)?)\s*([a-z]*)$/i.exec(typeof value === "string" ? value.trim() : "");
  const unit = UNITS[(parsed?.[2] ?? "?").toLowerCase()];
  if (parsed !== null && unit !== undefined) return Math.floor(Number(parsed[1]) * unit);
  throw new SettingError("must be a size such as 500MB, 20GB or 1TiB.");
}
