import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { pythonWith } from "./python.ts";

const SCRIPT = fileURLToPath(new URL("decode.py", import.meta.url));

export type Work = "decode" | "resize" | "augment";

export interface PythonTask {
  /** All files one after the other. */
  readonly file: string;
  readonly lengths: readonly number[];
  readonly batch: number;
  readonly work: Work;
  /** How many it decodes. */
  readonly images: number;
  /** Processes beside the one that takes the batches: 0 or 1. */
  readonly workers: number;
}

/** PIL and numpy, in torch's DataLoader where torch is installed. */
export interface PythonDecoder {
  readonly name: string;
  /** Whether batches can come from another process, as in training. */
  readonly hasWorkers: boolean;
  /** Images in a second of CPU time. */
  imagesPerSecond(task: PythonTask): Promise<number>;
  stop(): Promise<void>;
}

/** A sentence with what is missing, when there is no Python with PIL and numpy. */
export async function startPython(): Promise<PythonDecoder | string> {
  const python = (await pythonWith("import PIL, numpy, torch")) ?? (await pythonWith("import PIL, numpy"));
  if (python === undefined)
    return "no python3 has PIL and numpy (Debian packages python3-pil, python3-numpy)";
  const child = spawn(python, [SCRIPT], { stdio: ["pipe", "pipe", "inherit"] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const answer = async (): Promise<unknown> => {
    const { value, done } = await lines.next();
    if (done === true) throw new Error(`${SCRIPT} ended without an answer.`);
    return JSON.parse(value);
  };
  const { name, workers } = (await answer()) as { readonly name: string; readonly workers: boolean };
  return {
    name,
    hasWorkers: workers,
    async imagesPerSecond(task) {
      child.stdin.write(`${JSON.stringify(task)}\n`);
      const { images, cpu } = (await answer()) as { readonly images: number; readonly cpu: number };
      return images / cpu;
    },
    async stop() {
      const ended = once(child, "exit");
      child.stdin.end();
      await ended;
    },
  };
}
