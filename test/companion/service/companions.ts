/** Companions for tests, in this process: on a free port, with sockets and files of their own. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Companion } from "../../../companion/service/companion.ts";
import { loadConfiguration } from "../../../companion/service/configuration.ts";
import { createLog } from "../../../core/log.ts";

export interface TestCompanion {
  readonly companion: Companion;
  /** Base URL of the port. */
  readonly url: string;
  readonly port: number;
  readonly socket: string;
  /** A folder that is removed with the companion. */
  readonly folder: string;
  /** Lines of the log, parsed. */
  readonly log: readonly Record<string, unknown>[];
  close(): Promise<void>;
}

/** @param flags settings by their keys. */
export async function startCompanion(flags: Record<string, unknown> = {}): Promise<TestCompanion> {
  const folder = mkdtempSync(join(tmpdir(), "cyxcloud-companion-"));
  const log: Record<string, unknown>[] = [];
  const { values } = loadConfiguration({
    flags: {
      listen: "127.0.0.1:0",
      handoff_socket: join(folder, "handoff.sock"),
      pins: join(folder, "pins.json"),
      known_keys: join(folder, "known-keys"),
      ...flags,
    },
    environment: {},
    file: undefined,
  });
  const companion = await Companion.start(
    values,
    createLog((_, line) => log.push(JSON.parse(line) as Record<string, unknown>)),
  );
  return {
    companion,
    url: companion.address,
    port: Number(/:(\d+)$/.exec(companion.address)?.[1]),
    socket: companion.handoffSocket,
    folder,
    log,
    close: async () => {
      await companion.close();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
