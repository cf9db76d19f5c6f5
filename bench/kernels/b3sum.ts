import { execFile } from "node:child_process";
import { mkdtemp, open, rm, statfs } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);
const TMPFS = "/dev/shm";
const FILE_BYTES = 2 ** 30;
const PIECE_BYTES = 16 * 1024 * 1024;

/** Native BLAKE3 on one thread: Debian's `b3sum` over a warm file of 1 GiB in memory. */
export interface NativeBlake3 {
  readonly name: string;
  /** Bytes in a second of one run, without the program's start-up. */
  bytesPerSecond(): Promise<number>;
  stop(): Promise<void>;
}

/** A sentence with what is missing, when there is no b3sum or no memory for its file. */
export async function startNativeBlake3(): Promise<NativeBlake3 | string> {
  let version: string;
  try {
    version = (await run("b3sum", ["--version"])).stdout.trim();
  } catch {
    return "b3sum is not installed (Debian package b3sum)";
  }
  const space = await statfs(TMPFS).catch(() => undefined);
  if (space === undefined || space.bavail * space.bsize < 1.1 * FILE_BYTES) {
    return `${TMPFS} has no room for a file of 1 GiB`;
  }
  const directory = await mkdtemp(join(TMPFS, "blake3-"));
  const whole = join(directory, "whole");
  const empty = join(directory, "empty");
  await fill(whole, FILE_BYTES);
  await fill(empty, 0);
  return {
    name: `${version} on one thread`,
    async bytesPerSecond() {
      const startUp = Math.min(await seconds(empty), await seconds(empty));
      return FILE_BYTES / ((await seconds(whole)) - startUp);
    },
    stop: () => rm(directory, { recursive: true }),
  };
}

async function fill(path: string, bytes: number): Promise<void> {
  const file = await open(path, "w");
  try {
    const piece = new Uint8Array(PIECE_BYTES).map((_, i) => i * 31);
    for (let at = 0; at < bytes; at += PIECE_BYTES) await file.write(piece);
  } finally {
    await file.close();
  }
}

async function seconds(path: string): Promise<number> {
  const start = performance.now();
  await run("b3sum", ["--num-threads", "1", path]);
  return (performance.now() - start) / 1000;
}
