import { DECODE_ITEM_MS } from "../../core/limits.ts";

/** Calls back again and again, `ms` apart. @returns what ends it. */
export type Every = (ms: number, callback: () => void) => () => void;

/** So many looks in a row without progress. A process that was stopped for long looks once, not often, when it goes on. */
const LOOKS = 4;

/**
 * Looks whether a thread gets on. One that is at the same item for `DECODE_ITEM_MS` hangs: it is told, and when a quarter of
 * that has passed again it counts as lost.
 */
export class HangWatch {
  readonly #every: Every;
  readonly #progress: () => number;
  readonly #onHang: () => void;
  readonly #onLost: () => void;
  #seen = 0;
  #quiet = 0;
  #end: (() => void) | undefined;

  /** @param progress a number that changes with every item. */
  constructor(every: Every, progress: () => number, onHang: () => void, onLost: () => void) {
    this.#every = every;
    this.#progress = progress;
    this.#onHang = onHang;
    this.#onLost = onLost;
  }

  /** The thread has work. */
  start(): void {
    if (this.#end !== undefined) return;
    this.#seen = this.#progress();
    this.#quiet = 0;
    this.#end = this.#every(DECODE_ITEM_MS / LOOKS, () => this.#look());
  }

  /** It has none. */
  stop(): void {
    this.#end?.();
    this.#end = undefined;
  }

  #look(): void {
    const progress = this.#progress();
    this.#quiet = progress === this.#seen ? this.#quiet + 1 : 0;
    this.#seen = progress;
    if (this.#quiet === LOOKS) this.#onHang();
    if (this.#quiet <= LOOKS) return;
    this.stop();
    this.#onLost();
  }
}

export const platformEvery: Every = (ms, callback) => {
  const timer = setInterval(callback, ms);
  // Work keeps the process alive, not looking after it.
  timer.unref();
  return () => clearInterval(timer);
};
