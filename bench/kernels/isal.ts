import { execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const run = promisify(execFile);
const SECONDS = 0.25;

/** ISA-L through the small program isal.c, compiled for this run. */
export interface Isal {
  /** @param lost shards to rebuild (1 or 2), or 0 to encode; @param bytes data of one 4+2 stripe. */
  bytesPerSecond(lost: 0 | 1 | 2, bytes: number): Promise<number>;
  stop(): Promise<void>;
}

/** A sentence with what is missing, when the program does not compile. */
export async function startIsal(): Promise<Isal | string> {
  const compiler = process.env["CC"] ?? "cc";
  try {
    await run(compiler, ["--version"]);
  } catch {
    return `${compiler} is not installed (a C compiler)`;
  }
  const directory = await mkdtemp(join(tmpdir(), "isal-"));
  const program = join(directory, "isal");
  const source = fileURLToPath(new URL("isal.c", import.meta.url));
  try {
    await run(compiler, ["-O2", "-o", program, source, "-lisal"]);
  } catch {
    await rm(directory, { recursive: true });
    return "ISA-L is not installed (Debian package libisal-dev)";
  }
  return {
    async bytesPerSecond(lost, bytes) {
      return Number((await run(program, [lost, bytes, SECONDS].map(String))).stdout);
    },
    stop: () => rm(directory, { recursive: true }),
  };
}
