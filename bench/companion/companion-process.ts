import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const MAIN = fileURLToPath(new URL("../../companion/main.ts", import.meta.url));

/** A companion as users run it: a process of its own. */
export interface CompanionProcess {
  readonly address: string;
  /** What `/metrics` says now, by name and labels as they are written there. */
  metrics(): Promise<ReadonlyMap<string, number>>;
  stop(): Promise<void>;
}

/** @param cacheBytes of its cache, which begins empty; 0 for none. */
export async function startCompanionProcess(gateway: string, cacheBytes: number): Promise<CompanionProcess> {
  const folder = mkdtempSync(join(tmpdir(), "cyxcloud-companion-bench-"));
  const settings = {
    gateway,
    listen: "127.0.0.1:0",
    "handoff-socket": join(folder, "socket"),
    pins: join(folder, "pins.json"),
    "known-keys": join(folder, "known-keys"),
    "cache-folder": join(folder, "cache"),
    "cache-limit": String(cacheBytes),
  };
  const flags = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value]);
  const child = spawn(process.execPath, [MAIN, ...flags], { stdio: ["ignore", "ignore", "pipe"] });
  const ended = once(child, "exit");
  const stop = async (): Promise<void> => {
    child.kill();
    await ended;
    rmSync(folder, { recursive: true, force: true });
  };
  const address = await started(createInterface({ input: child.stderr }));
  if (address === undefined) {
    await stop();
    throw new Error("The companion did not start: see above.");
  }
  return {
    address,
    async metrics() {
      const text = await (await fetch(new URL("/metrics", address))).text();
      const samples = text.matchAll(/^cyxcloud_companion_(\S+) (\S+)$/gm);
      return new Map(Array.from(samples, ([, name, value]) => [name as string, Number(value)]));
    },
    stop,
  };
}

/** Its address; further warnings and errors go to stderr. Undefined when it ends first. */
function started(lines: ReturnType<typeof createInterface>): Promise<string | undefined> {
  return new Promise((resolve) => {
    lines.on("close", () => resolve(undefined));
    lines.on("line", (line) => {
      const { level, event, address } = parsed(line);
      if (level !== "info") process.stderr.write(`${line}\n`);
      if (event === "companion_started") resolve(String(address));
    });
  });
}

function parsed(line: string): Readonly<Record<string, unknown>> {
  try {
    return JSON.parse(line) as Record<string, unknown>;
  } catch {
    return { level: "error" };
  }
}
