/** The memory with which streams are ahead of their readers. */
import { STREAM_AHEAD_MAX_BYTES, STREAM_AHEAD_PART } from "../../../core/limits.ts";
import { type BudgetLease, ByteBudget } from "../../../storage/byte-budget.ts";

/**
 * A part of the isolate's budget for work ahead: later messages and the reads for them. However many streams
 * stall with all they could get, the rest stays for messages that must go on, and for uploads.
 */
export class AheadBudget extends ByteBudget {
  static readonly #byBudget = new WeakMap<ByteBudget, AheadBudget>();
  readonly #whole: ByteBudget;
  #streams = 0;

  private constructor(whole: ByteBudget) {
    super(Math.floor(whole.totalBytes * STREAM_AHEAD_PART));
    this.#whole = whole;
  }

  /** The one that belongs to an isolate's budget. */
  static of(whole: ByteBudget): AheadBudget {
    let ahead = this.#byBudget.get(whole);
    if (ahead === undefined) this.#byBudget.set(whole, (ahead = new AheadBudget(whole)));
    return ahead;
  }

  override tryAcquire(bytes: number): BudgetLease | undefined {
    const part = super.tryAcquire(bytes);
    const lease = part && this.#whole.tryAcquire(bytes);
    if (part === undefined || lease === undefined) {
      part?.release();
      return undefined;
    }
    return {
      bytes,
      release: () => {
        part.release();
        lease.release();
      },
    };
  }

  /** Takes a stream in; the function returned lets it go again, once. */
  join(): () => void {
    let joined = true;
    this.#streams++;
    return () => {
      if (joined) this.#streams--;
      joined = false;
    };
  }

  /** What one stream should use, as of now: the more streams, the less for each. */
  get share(): number {
    return Math.min(STREAM_AHEAD_MAX_BYTES, Math.floor(this.totalBytes / Math.max(1, this.#streams)));
  }
}
