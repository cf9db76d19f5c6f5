/** A companion of the local stack, in this process. */
import { Companion } from "../../companion/service/companion.ts";
import { loadConfiguration } from "../../companion/service/configuration.ts";
import { DataStreamError } from "../../core/errors.ts";
import { createLog } from "../../core/log.ts";
import { LOOPBACK } from "./ports.ts";

/** Ports that are tried beyond the one that is asked for. */
const FURTHER_PORTS = 20;

/**
 * Starts a companion for a gateway on the port, or on the next one that nobody listens on.
 * @param port 0 takes any free one.
 * @throws DataStreamError where it cannot run, or all of the ports are taken.
 */
export async function startLocalCompanion(gateway: string, port: number): Promise<Companion> {
  for (let candidate = port; ; candidate++) {
    const { values } = loadConfiguration({
      flags: { gateway, listen: `${LOOPBACK}:${candidate}` },
      environment: process.env,
      file: undefined,
    });
    try {
      return await Companion.start(values, quietLog);
    } catch (error) {
      const isTaken = error instanceof DataStreamError && error.code === "already_exists";
      if (!isTaken || candidate === port + FURTHER_PORTS) throw error;
    }
  }
}

/** What goes wrong; the rest would bury what the stack says. */
const quietLog = createLog((level, line) => {
  if (level !== "info") process.stderr.write(`${line}\n`);
});
