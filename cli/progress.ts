import { SingleBar } from "cli-progress";
import type { Output } from "./output.ts";

/** A bar on stderr; silent for programs and where stderr is no terminal. */
export class Progress {
  readonly #bar: SingleBar | undefined;
  #started = false;

  constructor(output: Output, label: string, unit: (value: number) => string = String) {
    if (output.json || !process.stderr.isTTY) return;
    this.#bar = new SingleBar({
      format: `${label} {bar} {percentage}% | {value}/{total}`,
      hideCursor: true,
      clearOnComplete: true,
      formatValue: (value, _options, type) =>
        type === "value" || type === "total" ? unit(value) : String(value),
    });
  }

  /** An unknown total shows as what is done so far. */
  update(done: number, total: number | null): void {
    if (this.#bar === undefined) return;
    const end = Math.max(total ?? done, 1);
    if (!this.#started) this.#bar.start(end, done);
    this.#started = true;
    this.#bar.setTotal(end);
    this.#bar.update(done);
  }

  stop(): void {
    if (this.#started) this.#bar?.stop();
  }
}

/** Runs work under a bar that goes away whatever happens. */
export async function withProgress<T>(progress: Progress, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } finally {
    progress.stop();
  }
}
