import type { DataStreamError } from "../../core/errors.ts";
import { backoffDelayMs, sleep, type RetryPolicy } from "../backoff.ts";

/** Whether and when an epoch is asked for again after a response that failed. */
export class Recovery {
  readonly #retry: RetryPolicy;
  #failures = 0;
  /** Requests that broke off may still reach the session, and take the rank over from the one that followed them. */
  #astray = 0;

  constructor(retry: RetryPolicy) {
    this.#retry = retry;
  }

  /** A batch came. */
  progress(): void {
    this.#failures = 0;
  }

  /**
   * Waits until it is time to ask again.
   * @throws the error itself when that is no use.
   */
  async after(error: DataStreamError, signal: AbortSignal): Promise<void> {
    this.#failures += 1;
    const isOvertaken = error.code === "aborted" && this.#astray > 0;
    if (error.code === "unavailable") this.#astray += 1;
    if (isOvertaken) this.#astray -= 1;
    if (!(error.retryable || isOvertaken) || this.#failures >= this.#retry.attempts) throw error;
    await sleep(backoffDelayMs(this.#retry, this.#failures - 1), signal);
  }
}
