/** The companion's configuration: flags win over the environment, which wins over the file. */
import { readFileSync } from "node:fs";
import { parse, stringify } from "smol-toml";
import { DataStreamError } from "../../core/errors.ts";
import { readSecret, SettingError, SETTINGS, type Configuration, type Setting } from "./settings.ts";

export interface ConfigurationSources {
  /** By the setting's key, as the command line gave them. */
  readonly flags: Readonly<Record<string, unknown>>;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Path of a TOML file. */
  readonly file: string | undefined;
}

/** A configuration, and where each of its values comes from. */
export interface LoadedConfiguration {
  readonly values: Configuration;
  /** "default", or for example "from --listen". */
  readonly sources: Readonly<Record<keyof Configuration, string>>;
}

/** @throws DataStreamError `invalid_argument` naming the setting and where its value comes from. */
export function loadConfiguration({ flags, environment, file }: ConfigurationSources): LoadedConfiguration {
  const fromFile = file === undefined ? {} : readFile(file);
  const values: Record<string, unknown> = {};
  const sources: Record<string, string> = {};
  for (const setting of Object.values(SETTINGS) as Setting<unknown>[]) {
    const { key } = setting;
    const variable = environment[setting.environment];
    const [value, source] =
      flags[key] !== undefined
        ? [flags[key], `from --${flagOf(key)}`]
        : variable !== undefined && variable !== ""
          ? [variable, `from ${setting.environment}`]
          : fromFile[key] !== undefined
            ? [fromFile[key], `from ${file}`]
            : [setting.fallback, "default"];
    values[key] = readWith(setting.read, value, key, source);
    sources[key] = source;
  }
  const loaded = { values, sources } as unknown as LoadedConfiguration;
  checkTogether(loaded);
  return { ...loaded, values: withSecretOfFile(loaded) };
}

/** The flag's name without its hyphens. */
export function flagOf(key: string): string {
  return key.replaceAll("_", "-");
}

/** The configuration as a TOML file that would give it, each value with its source; secrets are left out. */
export function printConfiguration({ values, sources }: LoadedConfiguration): string {
  const lines: string[] = [];
  for (const setting of Object.values(SETTINGS) as Setting<unknown>[]) {
    const key = setting.key as keyof Configuration;
    const value = key === "listen" ? listenText(values.listen) : values[key];
    if (setting.isSecret === true)
      lines.push(`# ${key}: ${value === undefined ? "none" : "set"} (${sources[key]})`);
    else if (value === undefined) lines.push(`# ${key}: none`);
    else lines.push(`${stringify({ [key]: value }).trim()} # ${sources[key]}`);
  }
  return `${lines.join("\n")}\n`;
}

export function listenText(listen: Configuration["listen"]): string {
  if (listen.kind === "unix") return `unix:${listen.path}`;
  return `${listen.host.includes(":") ? `[${listen.host}]` : listen.host}:${listen.port}`;
}

/** Whether only programs of this machine can reach an address. A host name other than localhost could be any. */
export function isLocal(listen: Configuration["listen"]): boolean {
  return listen.kind === "unix" || /^(localhost|::1|127(\.\d{1,3}){3})$/.test(listen.host);
}

function readFile(file: string): Record<string, unknown> {
  let content: Record<string, unknown>;
  try {
    content = parse(readFileSync(file, "utf8"));
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    // The parser's own message would quote the line, which may hold anything.
    const reason = code === undefined ? `is no TOML${lineOf(error)}` : `cannot be read (${code})`;
    throw wrong("config", `${file} ${reason}.`);
  }
  for (const key of Object.keys(content)) {
    if (!Object.hasOwn(SETTINGS, key))
      throw wrong(key, `(from ${file}) is no setting. Known: ${Object.keys(SETTINGS).join(", ")}.`);
    if ((SETTINGS as Record<string, Setting<unknown>>)[key]?.isSecret === true)
      throw wrong(
        key,
        `(from ${file}) does not belong into the file. Name a file of its own with secret_file.`,
      );
  }
  return content;
}

function lineOf(error: unknown): string {
  const { line } = error as { line?: unknown };
  return typeof line === "number" ? `: see line ${line}` : "";
}

function readWith<T>(read: (value: unknown) => T, value: unknown, key: string, source: string): T {
  try {
    return read(value);
  } catch (error) {
    if (error instanceof SettingError) throw wrong(key, `(${source}) ${error.message}`);
    throw error;
  }
}

function checkTogether({ values, sources }: LoadedConfiguration): void {
  for (const [one, other] of [
    ["tls_certificate", "tls_key"],
    ["client_certificate", "client_key"],
  ] as const) {
    if (values[one] !== undefined && values[other] === undefined)
      throw wrong(one, `(${sources[one]}) needs ${other} beside it.`);
    if (values[other] !== undefined && values[one] === undefined)
      throw wrong(other, `(${sources[other]}) needs ${one} beside it.`);
  }
  if (values.secret !== undefined && values.secret_file !== undefined)
    throw wrong(
      "secret",
      `(${sources.secret}) and secret_file (${sources.secret_file}) are both given; keep one.`,
    );
  const isGuarded =
    values.tls_certificate !== undefined && (values.secret !== undefined || values.secret_file !== undefined);
  if (!isLocal(values.listen) && !isGuarded)
    throw wrong(
      "listen",
      `(${sources.listen}) ${listenText(values.listen)} can be reached from other machines, so the companion serves there only ` +
        "with TLS and a secret: give --tls-certificate, --tls-key and --secret-file, or listen on 127.0.0.1 or unix:PATH.",
    );
}

function withSecretOfFile({ values, sources }: LoadedConfiguration): Configuration {
  const { secret_file: file } = values;
  if (file === undefined) return values;
  let content: string;
  try {
    content = readFileSync(file, "utf8");
  } catch (error) {
    throw wrong(
      "secret_file",
      `(${sources.secret_file}) ${file} cannot be read (${(error as NodeJS.ErrnoException).code}).`,
    );
  }
  return { ...values, secret: readWith(readSecret, content, "secret_file", sources.secret_file) };
}

function wrong(key: string, message: string): DataStreamError {
  return new DataStreamError("invalid_argument", `${key} ${message}`, { details: { field: key } });
}
