/** Processes of tests, read line by line. */
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";

export class Child {
  readonly process: ChildProcess;
  readonly lines: string[] = [];
  readonly #listeners = new Set<() => void>();
  readonly #exit: Promise<[code: number | null, signal: NodeJS.Signals | null]>;

  private constructor(child: ChildProcess) {
    this.process = child;
    this.#exit = once(child, "close") as Promise<[number | null, NodeJS.Signals | null]>;
    for (const stream of [child.stdout, child.stderr]) {
      if (stream === null) continue;
      createInterface({ input: stream }).on("line", (line) => {
        this.lines.push(line);
        for (const listener of this.#listeners) listener();
      });
    }
  }

  /** This Node, with the tests' own environment but for what is given. */
  static start(
    script: string,
    arguments_: readonly string[],
    environment: Record<string, string> = {},
  ): Child {
    return new Child(
      spawn(process.execPath, [script, ...arguments_], {
        stdio: ["ignore", "pipe", "pipe"],
        env: { ...process.env, ...environment },
      }),
    );
  }

  /** Another program. @param process whose output is piped. */
  static of(process: ChildProcess): Child {
    return new Child(process);
  }

  /** The first line that matches, also one that came before; rejects when the process ends without. */
  async line(pattern: RegExp): Promise<RegExpExecArray> {
    const found = Promise.withResolvers<RegExpExecArray>();
    let looked = 0;
    const look = (): void => {
      for (; looked < this.lines.length; looked++) {
        const match = pattern.exec(this.lines[looked] as string);
        if (match !== null) found.resolve(match);
      }
    };
    this.#listeners.add(look);
    look();
    void this.#exit.then(() =>
      found.reject(new Error(`It ended without ${pattern}:\n${this.lines.join("\n")}`)),
    );
    try {
      return await found.promise;
    } finally {
      this.#listeners.delete(look);
    }
  }

  /** @returns exit code and signal. */
  async end(signal?: NodeJS.Signals): Promise<[number | null, NodeJS.Signals | null]> {
    if (signal !== undefined) this.process.kill(signal);
    return this.#exit;
  }
}
