import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { randomUUID } from "node:crypto";
import { dirname, resolve } from "node:path";
import type { Pin, PinStore } from "../client/pins.ts";

/** The last write of each file: each reads the file, so they take turns. */
const writes = new Map<string, Promise<void>>();

/**
 * Pins in a JSON file, for trust on first use across runs. Within one process any number of streams may share the
 * file. Of several processes that write at once, the last one wins.
 */
export class FilePinStore implements PinStore {
  readonly #file: string;

  constructor(file: string) {
    this.#file = resolve(file);
  }

  async get(key: string): Promise<Pin | undefined> {
    return (await this.#read())[key];
  }

  set(key: string, pin: Pin): Promise<void> {
    const before = writes.get(this.#file) ?? Promise.resolve();
    const written = before.catch(() => undefined).then(() => this.#write(key, pin));
    writes.set(this.#file, written);
    return written;
  }

  async #write(key: string, pin: Pin): Promise<void> {
    const pins = { ...(await this.#read()), [key]: pin };
    await mkdir(dirname(this.#file), { recursive: true });
    // Renaming is atomic: a crash leaves the old file or the new one, never half of either.
    const scratch = `${this.#file}.${randomUUID()}`;
    await writeFile(scratch, `${JSON.stringify(pins, undefined, 2)}\n`, { mode: 0o600 });
    await rename(scratch, this.#file);
  }

  async #read(): Promise<Record<string, Pin>> {
    try {
      return JSON.parse(await readFile(this.#file, "utf8")) as Record<string, Pin>;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return {};
      throw error;
    }
  }
}
