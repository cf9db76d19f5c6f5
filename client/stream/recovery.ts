import type { DataStreamError } from "../../core/errors.ts";
import { Attempts, type RetryPolicy } from "../backoff.ts";

/** Whether and when an epoch is asked for again after a response that failed. */
export class Recovery {
  readonly #attempts: Attempts;
  /** Requests that broke off may still reach the session, and take the rank over from the one that followed them. */
  #astray = 0;

  constructor(retry: RetryPolicy) {
    this.#attempts = new Attempts(retry);
  }

  /** A batch came. */
  progress(): void {
    this.#attempts.progress();
  }

  /**
   * Waits until it is time to ask again.
   * @throws the error itself when that is no use.
   */
  async after(error: DataStreamError, signal: AbortSignal): Promise<void> {
    const isOvertaken = error.code === "aborted" && this.#astray > 0;
    if (error.code === "unavailable") this.#astray += 1;
    if (isOvertaken) this.#astray -= 1;
    await this.#attempts.after(error, error.retryable || isOvertaken, signal);
  }
}
