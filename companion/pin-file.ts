import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import type { Pin, Pins, PinStore } from "../client/pins.ts";
import { invalidArgument } from "../core/errors.ts";
import { lockFile } from "./file-lock.ts";

/** The last update of each file: those of one process take turns, so that waiting for others takes one thread. */
const updates = new Map<string, Promise<unknown>>();

/**
 * Pins in a JSON file, for trust on first use across runs. Any number of streams and processes may share the file, those
 * of the Python package too: whoever looks and remembers holds the lock on FILE.lock meanwhile.
 */
export class FilePinStore implements PinStore {
  readonly #file: string;

  constructor(file: string) {
    this.#file = resolve(file);
  }

  /** @throws DataStreamError `invalid_argument` where the file holds something else; the system's error. */
  update<T>(change: (pins: Pins) => T): Promise<T> {
    const before = updates.get(this.#file) ?? Promise.resolve();
    const updated = before.catch(() => undefined).then(() => this.#update(change));
    updates.set(this.#file, updated);
    return updated;
  }

  async #update<T>(change: (pins: Pins) => T): Promise<T> {
    mkdirSync(dirname(this.#file), { recursive: true, mode: 0o700 });
    const unlock = await lockFile(`${this.#file}.lock`);
    try {
      return this.#updateNow(change);
    } finally {
      unlock();
    }
  }

  /** Waits for nothing: others may wait for the lock on all threads that could help. */
  #updateNow<T>(change: (pins: Pins) => T): T {
    const pins = this.#read();
    let isChanged = false;
    const result = change({
      get: (key) => pins.get(key),
      set(key, pin) {
        pins.set(key, pin);
        isChanged = true;
      },
    });
    if (isChanged) this.#write(pins);
    return result;
  }

  #write(pins: ReadonlyMap<string, Pin>): void {
    // Renaming is atomic: a crash leaves the old file or the new one, never half of either.
    const scratch = `${this.#file}.new`;
    writeFileSync(scratch, `${JSON.stringify(Object.fromEntries(pins), undefined, 2)}\n`, { mode: 0o600 });
    renameSync(scratch, this.#file);
  }

  #read(): Map<string, Pin> {
    try {
      const pins: unknown = JSON.parse(readFileSync(this.#file, "utf8"));
      if (typeof pins === "object" && pins !== null && !Array.isArray(pins))
        return new Map(Object.entries(pins as Record<string, Pin>));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return new Map();
      if (!(error instanceof SyntaxError)) throw error;
    }
    throw invalidArgument("pins", `${this.#file} is no file of pins. Repair it, or move it away.`);
  }
}
