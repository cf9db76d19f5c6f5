import { randomInt } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:net";

export const LOOPBACK = "127.0.0.1";

/**
 * Below the range from which systems give outgoing connections their ports (Linux: 32768 and up): a port
 * from there could be taken between choosing and listening, or while a server restarts.
 */
const FREE_FROM = 20_000;
const FREE_BELOW = 32_768;
const ATTEMPTS = 100;

/** A port that somebody else listens on; the message names it and the option that changes it. */
export class PortBusyError extends Error {
  override readonly name = "PortBusyError";
  readonly port: number;
  constructor(port: number, option: string) {
    super(`Port ${port} is in use. Stop what listens there, or choose another port with ${option} PORT.`);
    this.port = port;
  }
}

/**
 * The port itself when it is free, or for 0 a random one that is.
 * Nothing is reserved: another process may still take it before the caller does.
 */
export async function freePort(port: number, option: string): Promise<number> {
  if (port !== 0) {
    if (await isFree(port)) return port;
    throw new PortBusyError(port, option);
  }
  for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
    const candidate = randomInt(FREE_FROM, FREE_BELOW);
    if (await isFree(candidate)) return candidate;
  }
  throw new Error(`No free port was found between ${FREE_FROM} and ${FREE_BELOW - 1}.`);
}

async function isFree(port: number): Promise<boolean> {
  const probe = createServer();
  try {
    probe.listen(port, LOOPBACK);
    await once(probe, "listening");
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EADDRINUSE") return false;
    throw error;
  } finally {
    probe.close();
  }
}
