/** How much of the isolate's memory a stream may use to be ahead of its reader. */

/** Part of the budget for work ahead; the rest is for messages that must go on, and uploads. */
const AHEAD_PART = 0.5;
/** Six reads at work and as many ready: more would not make a stream faster. */
const AHEAD_MAX_BYTES = 16 * 1024 * 1024;

export interface StreamShare {
  /** As of now: the more streams, the less for each. */
  readonly bytes: number;
  release(): void;
}

/** The streams of one isolate, all alike: one that stalls can keep its share and no more. */
export class StreamShares {
  #streams = 0;

  open(budgetBytes: number): StreamShare {
    const shares = this;
    let open = true;
    this.#streams++;
    return {
      get bytes() {
        return Math.min(AHEAD_MAX_BYTES, Math.floor((budgetBytes * AHEAD_PART) / shares.#streams));
      },
      release() {
        if (open) shares.#streams--;
        open = false;
      },
    };
  }
}
