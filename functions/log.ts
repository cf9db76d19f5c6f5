/** The gateway's log, on the console that Workers Logs collects. */
import { createLog as createLogOn, type Log, type LogLevel } from "../core/log.ts";

export { errorFields, type Log, type LogFields } from "../core/log.ts";

/** @param write takes one finished line; the console unless a test listens. */
export function createLog(write: (level: LogLevel, line: string) => void = toConsole): Log {
  return createLogOn(write);
}

function toConsole(level: LogLevel, line: string): void {
  // oxlint-disable-next-line no-console -- the one place that writes logs
  console[level](line);
}
