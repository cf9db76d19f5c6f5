import { DataStreamError, type ErrorDetails } from "../core/errors.ts";
import { sleep } from "./backoff.ts";
import { knownCode, path, text, type Gateway } from "./http.ts";

/** Durable state of long work. `done` never decreases. */
export interface Job {
  readonly id: string;
  readonly kind: string;
  readonly state: "queued" | "running" | "succeeded" | "failed";
  readonly done: number;
  readonly total: number | null;
  readonly result: unknown;
  readonly error: Record<string, unknown> | null;
}

export interface JobOptions {
  /** Called with each state seen, for a progress bar. */
  readonly onProgress?: (job: Job) => void;
  readonly signal?: AbortSignal;
}

const FIRST_POLL_MS = 50;
const SLOWEST_POLL_MS = 1_000;

export function getJob(gateway: Gateway, id: string): Promise<Job> {
  return gateway.json<Job>("GET", path("api", "jobs", id));
}

/**
 * Follows a job to its end and gives its result.
 * @throws DataStreamError with the job's own code when it failed.
 */
export async function waitForJob<T>(gateway: Gateway, id: string, options: JobOptions = {}): Promise<T> {
  for (let delay = FIRST_POLL_MS; ; delay = Math.min(SLOWEST_POLL_MS, delay * 1.5)) {
    const job = await getJob(gateway, id);
    options.onProgress?.(job);
    if (job.state === "succeeded") return job.result as T;
    if (job.state === "failed") {
      const error = job.error ?? {};
      throw new DataStreamError(
        knownCode(error["code"]) ?? "internal",
        text(error["message"]) ?? `Job ${id} failed.`,
        { details: { job: id } satisfies ErrorDetails },
      );
    }
    await sleep(delay, options.signal);
  }
}
