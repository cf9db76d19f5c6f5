import { DataStreamError } from "../core/errors.ts";

/** How often and how patiently a failed call is made again. */
export interface RetryPolicy {
  /** Attempts without any progress before the error is thrown. */
  readonly attempts: number;
  /** First delay, in milliseconds; doubles with each attempt. */
  readonly firstDelayMs: number;
  readonly maxDelayMs: number;
  /** Goes on beyond `attempts` until so long after the last progress. Default 0: `attempts` decides. */
  readonly patienceMs?: number;
  /** Replaces the platform's time, for tests. */
  readonly clock?: Clock;
  /** Longest that the gateway's own word (Retry-After) is waited for. Default: a minute. */
  readonly maxRetryAfterMs?: number;
}

export interface Clock {
  /** Milliseconds from any beginning. */
  now(): number;
  /** @throws DataStreamError `canceled` when the signal aborts. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}

const platformClock: Clock = { now: () => performance.now(), sleep };

export const DEFAULT_RETRY: RetryPolicy = { attempts: 10, firstDelayMs: 200, maxDelayMs: 15_000 };

/**
 * "Full jitter": a uniform share of the exponential ceiling, so that the ranks of a run do not
 * come back together (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/).
 */
export function backoffDelayMs(
  policy: RetryPolicy,
  attempt: number,
  random: () => number = Math.random,
): number {
  return random() * Math.min(policy.maxDelayMs, policy.firstDelayMs * 2 ** attempt);
}

const MAX_RETRY_AFTER_MS = 60_000;

/** The wait that the gateway asked for, as far as the policy goes along, and then the own share of `backoffDelayMs`. */
export function retryDelayMs(
  policy: RetryPolicy,
  attempt: number,
  { details }: DataStreamError,
  random: () => number = Math.random,
): number {
  const asked = details[RETRY_AFTER_DETAIL];
  const askedMs = typeof asked === "number" ? asked * 1000 : 0;
  return (
    Math.min(askedMs, policy.maxRetryAfterMs ?? MAX_RETRY_AFTER_MS) + backoffDelayMs(policy, attempt, random)
  );
}

/** Detail of an error: the seconds that the gateway asked to wait. */
export const RETRY_AFTER_DETAIL = "retry_after_seconds";

/**
 * Seconds from now that a Retry-After header names, as a number of them or as a date (RFC 9110, 10.2.3); undefined where
 * there is none that makes sense.
 */
export function retryAfterSeconds(header: string | null): number | undefined {
  if (header === null) return undefined;
  if (/^\d+$/.test(header)) return Number(header);
  const at = header.endsWith(" GMT") ? Date.parse(header) : Number.NaN;
  return Number.isNaN(at) ? undefined : Math.max(0, (at - Date.now()) / 1000);
}

/** Resolves after `ms`; rejects with `canceled` when the signal aborts. */
export function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => {
      clearTimeout(timer);
      reject(canceled());
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", onAbort);
      resolve();
    }, ms);
    if (signal?.aborted === true) onAbort();
    else signal?.addEventListener("abort", onAbort, { once: true });
  });
}

export function canceled(): DataStreamError {
  return new DataStreamError("canceled", "The caller cancelled.");
}

/** Counts failures in a row, and waits between them. */
export class Attempts {
  readonly #policy: RetryPolicy;
  readonly #clock: Clock;
  #failures = 0;
  #begun: number;

  constructor(policy: RetryPolicy) {
    this.#policy = policy;
    this.#clock = policy.clock ?? platformClock;
    this.#begun = this.#clock.now();
  }

  progress(): void {
    this.#failures = 0;
    this.#begun = this.#clock.now();
  }

  /**
   * Waits until it is time for the next attempt.
   * @throws the error itself when that is no use any more; `canceled` when the signal aborts.
   */
  async after(error: DataStreamError, mayPass: boolean, signal?: AbortSignal): Promise<void> {
    this.#failures += 1;
    const { attempts, patienceMs = 0 } = this.#policy;
    const isSpent = this.#failures >= attempts && this.#clock.now() - this.#begun >= patienceMs;
    if (!mayPass || isSpent) throw error;
    await this.#clock.sleep(retryDelayMs(this.#policy, this.#failures - 1, error), signal);
  }
}

/** Runs an idempotent operation until it succeeds, fails for good, or the attempts are spent. */
export async function retrying<T>(
  operation: () => Promise<T>,
  policy: RetryPolicy,
  signal?: AbortSignal,
): Promise<T> {
  const attempts = new Attempts(policy);
  for (;;) {
    try {
      return await operation();
    } catch (thrown) {
      const error = DataStreamError.from(thrown);
      await attempts.after(error, error.retryable, signal);
    }
  }
}
