import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import type { Pin, PinStore } from "../client/pins.ts";

/** Pins in a JSON file, for trust on first use across runs. Concurrent writers: the last one wins. */
export class FilePinStore implements PinStore {
  readonly #file: string;

  constructor(file: string) {
    this.#file = file;
  }

  async get(key: string): Promise<Pin | undefined> {
    return (await this.#read())[key];
  }

  async set(key: string, pin: Pin): Promise<void> {
    const pins = { ...(await this.#read()), [key]: pin };
    await mkdir(dirname(this.#file), { recursive: true });
    // Renaming is atomic: a crash leaves the old file or the new one, never half of either.
    const scratch = `${this.#file}.${process.pid}`;
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
