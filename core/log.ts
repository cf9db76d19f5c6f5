/** Structured log lines: one JSON object each. Secrets never get in. */
import { DataStreamError } from "./errors.ts";

type LogValue = string | number | boolean | null | undefined | readonly string[];
export type LogLevel = "info" | "warn" | "error";
export type LogFields = Readonly<Record<string, LogValue>>;

export interface Log {
  info(event: string, fields?: LogFields): void;
  warn(event: string, fields?: LogFields): void;
  error(event: string, fields?: LogFields): void;
  /** A log whose lines all carry these fields too. */
  with(fields: LogFields): Log;
}

/** @param write takes one finished line. */
export function createLog(write: (level: LogLevel, line: string) => void): Log {
  return withFields(write, {});
}

function withFields(write: (level: LogLevel, line: string) => void, common: LogFields): Log {
  const line = (level: LogLevel, event: string, fields: LogFields = {}): void =>
    write(level, JSON.stringify(redact({ level, event, ...common, ...fields })));
  return {
    info: (event, fields) => line("info", event, fields),
    warn: (event, fields) => line("warn", event, fields),
    error: (event, fields) => line("error", event, fields),
    with: (fields) => withFields(write, { ...common, ...fields }),
  };
}

/** What an operator needs of anything thrown: code, message and, for what the caller never sees, the causes. */
export function errorFields(thrown: unknown): LogFields {
  const error = DataStreamError.from(thrown);
  const causes: string[] = [];
  let cause: unknown = error.cause;
  for (let depth = 0; cause !== undefined && depth < 5; depth++) {
    causes.push(describe(cause));
    cause = cause instanceof Error ? cause.cause : undefined;
  }
  return {
    code: error.code,
    fault: error.fault,
    message: error.message,
    ...(causes.length > 0 && { causes }),
  };
}

function describe(cause: unknown): string {
  if (cause instanceof Error) return cause.stack ?? `${cause.name}: ${cause.message}`;
  return typeof cause === "string" ? cause : Object.prototype.toString.call(cause);
}

const REDACTED = "[redacted]";
/** Fields that hold secrets by their name, whatever their value looks like. */
const SECRET_NAMES =
  /^(.*_)?(token|api_key|authorization|password|secret|signing_keys|database_url|cookie)$/i;
/** Secrets inside longer texts: API keys, JWTs, credentials after `Bearer`, passwords in URLs, private JWK members. */
const SECRET_TEXTS: readonly [RegExp, string][] = [
  [/cyx_[A-Za-z0-9_-]+/g, REDACTED],
  [/eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]*)?/g, REDACTED],
  [/\b(bearer|basic|dpop)\s+[^\s",;]+/gi, `$1 ${REDACTED}`],
  [/([a-z][a-z0-9+.-]*:\/\/[^\s:/@]*):[^\s/@]+@/gi, `$1:${REDACTED}@`],
  [/("d"\s*:\s*")[^"]+"/g, `$1${REDACTED}"`],
];

function redact(fields: LogFields): LogFields {
  return Object.fromEntries(
    Object.entries(fields).map(([name, value]) => [name, SECRET_NAMES.test(name) ? REDACTED : clean(value)]),
  );
}

function clean(value: LogValue): LogValue {
  if (typeof value === "string") return withoutSecrets(value);
  return Array.isArray(value) ? value.map(withoutSecrets) : value;
}

function withoutSecrets(text: string): string {
  return SECRET_TEXTS.reduce((rest, [pattern, replacement]) => rest.replace(pattern, replacement), text);
}
