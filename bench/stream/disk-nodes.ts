/** Plain HTTP storage nodes: folders that a workerd of their own serves, so that none of it is in the gateway's process. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { nodeNumbers } from "../../scripts/stack/gateway.ts";

export interface DiskNodes {
  /** Base URLs of node 1 to 6. */
  readonly urls: readonly string[];
  readonly pid: number;
  stop(): Promise<void>;
}

export async function startDiskNodes(folder: string): Promise<DiskNodes> {
  const shards = join(folder, "shards");
  for (const node of nodeNumbers()) mkdirSync(join(shards, `node-${node}`), { recursive: true });
  const config = join(folder, "disk.capnp");
  writeFileSync(
    config,
    `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [(name = "disk", disk = (path = "${shards}", writable = true))],
  sockets = [(name = "http", address = "127.0.0.1:0", http = (), service = "disk")],
);
`,
  );
  const workerd = createRequire(import.meta.resolve("miniflare"))("workerd") as { default: string };
  const child = spawn(workerd.default, ["serve", config, "--control-fd=3"], {
    stdio: ["ignore", "ignore", "inherit", "pipe"],
  });
  const control = child.stdio[3] as Readable;
  const [line] = (await once(control, "data")) as [Buffer];
  const { port } = JSON.parse(line.toString()) as { port: number };
  return {
    urls: nodeNumbers().map((node) => `http://127.0.0.1:${port}/node-${node}`),
    pid: child.pid as number,
    stop: () => stopChild(child),
  };
}

async function stopChild(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, "exit");
  child.kill();
  await exited;
}
