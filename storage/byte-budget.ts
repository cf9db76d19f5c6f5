import { DataStreamError } from "../core/errors.ts";
import { ISOLATE_BUDGET_WAIT_MS } from "../core/limits.ts";

/** A share of the budget. Releasing twice has no effect. */
export interface BudgetLease {
  readonly bytes: number;
  release(): void;
}

interface Waiter {
  readonly bytes: number;
  grant(lease: BudgetLease): void;
}

/**
 * One bound on the bytes that all streams and uploads of an isolate hold.
 *
 * Who needs memory to go on acquires it while holding none, first come first
 * served; who merely reads ahead uses `tryAcquire`, which never overtakes a
 * waiter. So holders always finish, and no request starves. NOT guaranteed: that
 * the bytes are contiguous anywhere.
 */
export class ByteBudget {
  readonly totalBytes: number;
  readonly #waitMs: number;
  readonly #waiters: Waiter[] = [];
  #usedBytes = 0;
  #peakBytes = 0;

  constructor(totalBytes: number, waitMs: number = ISOLATE_BUDGET_WAIT_MS) {
    this.totalBytes = totalBytes;
    this.#waitMs = waitMs;
  }

  get usedBytes(): number {
    return this.#usedBytes;
  }

  /** Highest use since construction. */
  get peakBytes(): number {
    return this.#peakBytes;
  }

  /** Undefined when the bytes are not free now, or somebody waits. */
  tryAcquire(bytes: number): BudgetLease | undefined {
    if (this.#waiters.length > 0 || this.#usedBytes + bytes > this.totalBytes) return undefined;
    return this.#take(bytes);
  }

  /**
   * Waits in line for `bytes`.
   * @throws DataStreamError `resource_exhausted` after the waiting time, or at once when
   *   `bytes` exceed the whole budget; `canceled` when the signal aborts.
   */
  acquire(bytes: number, options: { signal?: AbortSignal } = {}): Promise<BudgetLease> {
    if (bytes > this.totalBytes) {
      return Promise.reject(
        new DataStreamError(
          "resource_exhausted",
          `The request needs ${bytes} bytes of memory at once; ${this.totalBytes} is the most.`,
          {
            details: { needed_bytes: bytes, limit: this.totalBytes },
          },
        ),
      );
    }
    const lease = this.tryAcquire(bytes);
    if (lease !== undefined) return Promise.resolve(lease);
    return this.#wait(bytes, options.signal);
  }

  #wait(bytes: number, signal: AbortSignal | undefined): Promise<BudgetLease> {
    return new Promise((resolve, reject) => {
      const leave = (error: DataStreamError): void => {
        this.#waiters.splice(this.#waiters.indexOf(waiter), 1);
        settle();
        reject(error);
        this.#grantWaiters();
      };
      const onAbort = (): void =>
        leave(new DataStreamError("canceled", "The request was cancelled while it waited for memory."));
      const timer = setTimeout(
        () =>
          leave(
            new DataStreamError(
              "resource_exhausted",
              "The gateway is busy: no memory became free in time. Try again shortly.",
            ),
          ),
        this.#waitMs,
      );
      const settle = (): void => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", onAbort);
      };
      const waiter: Waiter = {
        bytes,
        grant: (lease) => {
          settle();
          resolve(lease);
        },
      };
      if (signal?.aborted === true) {
        clearTimeout(timer);
        reject(new DataStreamError("canceled", "The request was cancelled while it waited for memory."));
        return;
      }
      signal?.addEventListener("abort", onAbort, { once: true });
      this.#waiters.push(waiter);
    });
  }

  #take(bytes: number): BudgetLease {
    this.#usedBytes += bytes;
    this.#peakBytes = Math.max(this.#peakBytes, this.#usedBytes);
    let held = true;
    return {
      bytes,
      release: () => {
        if (!held) return;
        held = false;
        this.#usedBytes -= bytes;
        this.#grantWaiters();
      },
    };
  }

  #grantWaiters(): void {
    for (let first = this.#waiters[0]; first !== undefined; first = this.#waiters[0]) {
      if (this.#usedBytes + first.bytes > this.totalBytes) return;
      this.#waiters.shift();
      first.grant(this.#take(first.bytes));
    }
  }
}
