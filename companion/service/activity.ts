/** Whether anybody uses the companion. */
export class Activity {
  readonly #idleMs: number;
  readonly #onIdle: () => void;
  #users = 0;
  #timer: NodeJS.Timeout | undefined;
  #quiet: PromiseWithResolvers<void> | undefined;

  /** @param idleMs 0: never idle. @param onIdle called once nobody was there for so long. */
  constructor(idleMs: number, onIdle: () => void) {
    this.#idleMs = idleMs;
    this.#onIdle = onIdle;
    this.touch();
  }

  get users(): number {
    return this.#users;
  }

  enter(): void {
    this.#users += 1;
    clearTimeout(this.#timer);
  }

  leave(): void {
    this.#users -= 1;
    if (this.#users === 0) {
      this.#quiet?.resolve();
      this.#quiet = undefined;
    }
    this.touch();
  }

  /** Resolves when nobody is there. */
  async quiet(): Promise<void> {
    if (this.#users === 0) return;
    await (this.#quiet ??= Promise.withResolvers<void>()).promise;
  }

  /** Somebody looked in. */
  touch(): void {
    clearTimeout(this.#timer);
    if (this.#idleMs > 0 && this.#users === 0) this.#timer = setTimeout(this.#onIdle, this.#idleMs);
  }

  close(): void {
    clearTimeout(this.#timer);
  }
}
