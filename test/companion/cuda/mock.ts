/** The mock driver, compiled once for a test file, and a Python consumer that runs on it. */
import { type ChildProcessByStdio, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface, type Interface } from "node:readline";
import type { Readable, Writable } from "node:stream";
import koffi from "koffi";
import { requireTool } from "../../support/tools.ts";

const ROOT = join(import.meta.dirname, "..", "..", "..");

/** What the mock counts of a process. All of it is zero when everything was given back. */
export interface Live {
  readonly contexts: number;
  readonly streams: number;
  readonly events: number;
  readonly allocations: number;
  readonly mappings: number;
  readonly registrations: number;
  readonly violations: number;
}

export const NOTHING: Live = {
  contexts: 0,
  streams: 0,
  events: 0,
  allocations: 0,
  mappings: 0,
  registrations: 0,
  violations: 0,
};

export interface MockDriver {
  /** Of the library. */
  readonly path: string;
  /** Where it keeps what stands for device memory. */
  readonly folder: string;
  /** Of this process. */
  live(): Live;
  /** Makes calls fail: `{ cuMemHostRegister_v2: 801 }`. */
  fail(calls: Readonly<Record<string, number>>): void;
  remove(): void;
}

/** Undefined where gcc or python3 is missing; then `test.skipIf` names them. */
export const TOOLS: { readonly gcc: string; readonly python: string } | undefined = findTools();

export function compileMock(): MockDriver {
  const folder = mkdtempSync(join(tmpdir(), "cyxcloud-cuda-"));
  const path = join(folder, "libmockcuda.so");
  const flags = ["-std=c17", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-pthread"];
  execFileSync(TOOLS?.gcc ?? "gcc", [
    ...flags,
    "-o",
    path,
    join(import.meta.dirname, "libcuda", "libcuda.c"),
  ]);
  process.env["CYXCLOUD_MOCK_CUDA"] = folder;
  const library = koffi.load(path);
  const mockLive = library.func("int mockLive(char sort)");
  const mockViolations = library.func("int mockViolations()");
  const count = (sort: string): number => mockLive(sort.charCodeAt(0)) as number;
  return {
    path,
    folder,
    live: () => ({
      contexts: count("c"),
      streams: count("s"),
      events: count("e"),
      allocations: count("a"),
      mappings: count("m"),
      registrations: count("r"),
      violations: mockViolations() as number,
    }),
    fail(calls) {
      process.env["CYXCLOUD_MOCK_CUDA_FAIL"] = Object.entries(calls)
        .map(([name, code]) => `${name}=${code}`)
        .join(",");
    },
    remove: () => rmSync(folder, { recursive: true }),
  };
}

/** test/companion/cuda/consumer.py as a process: one JSON object a line, either way. */
export class Consumer {
  readonly #child: ChildProcessByStdio<Writable, Readable, null>;
  readonly #lines: AsyncIterator<string>;
  readonly #reader: Interface;

  constructor(mock: MockDriver, environment: Readonly<Record<string, string>> = {}) {
    this.#child = spawn(TOOLS?.python ?? "python3", [join(import.meta.dirname, "consumer.py")], {
      stdio: ["pipe", "pipe", "inherit"],
      env: {
        PATH: process.env["PATH"] ?? "",
        PYTHONPATH: join(ROOT, "python"),
        PYTHONDONTWRITEBYTECODE: "1",
        CYXCLOUD_LIBCUDA: mock.path,
        CYXCLOUD_MOCK_CUDA: mock.folder,
        ...environment,
      },
    });
    this.#reader = createInterface(this.#child.stdout);
    this.#lines = this.#reader[Symbol.asyncIterator]();
  }

  get pid(): number {
    return this.#child.pid as number;
  }

  /** Calls a function of consumer.py. */
  async call<T>(name: string, parameters: Readonly<Record<string, unknown>> = {}): Promise<T> {
    this.#child.stdin.write(`${JSON.stringify({ call: name, ...parameters })}\n`);
    const line = await this.#lines.next();
    if (line.done === true) throw new Error("The consumer ended: see its output above.");
    const answer = JSON.parse(line.value) as { result?: T; error?: string };
    if (answer.error !== undefined) throw new Error(answer.error);
    return answer.result as T;
  }

  async kill(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = once(this.#child, "exit");
    this.#child.kill("SIGKILL");
    await ended;
    this.#reader.close();
  }

  /** Ends it in order; resolves to what it left behind. */
  async end(): Promise<Live> {
    const live = await this.call<Live>("end");
    const ended = once(this.#child, "exit");
    this.#child.stdin.end();
    await ended;
    this.#reader.close();
    return live;
  }
}

function findTools(): { readonly gcc: string; readonly python: string } | undefined {
  const gcc = requireTool("gcc");
  const python = process.env["CYXCLOUD_PYTHON"] ?? requireTool("python3");
  return gcc === undefined || python === undefined ? undefined : { gcc, python };
}
