/** Drives a job step by step, over storage that survives it. Knows neither alarms nor the platform. */
import { DataStreamError } from "../../core/errors.ts";
import { JOB_STEP_ATTEMPTS, JOB_STEP_ATTEMPTS_UNAVAILABLE } from "../../core/limits.ts";
import type { Sql } from "../../core/ports.ts";
import {
  failStatement,
  insertJob,
  type JobError,
  type NewJob,
  progressStatement,
  succeedStatement,
} from "../../catalog/jobs.ts";
import type { CreateDatasetInput, CreateDatasetState } from "./create-dataset.ts";
import type { ImportPublicDatasetInput, ImportPublicDatasetState } from "./import-public-dataset.ts";
import { type JobInfo, type JobProgram, type JobStorage, MemoryJobStorage } from "./program.ts";
import type { UnpackDatasetInput, UnpackDatasetState } from "./unpack-dataset.ts";
import type { VerifyDatasetInput, VerifyDatasetState } from "./verify-dataset.ts";

export interface JobPrograms {
  readonly create_dataset: JobProgram<CreateDatasetInput, CreateDatasetState>;
  readonly verify_dataset: JobProgram<VerifyDatasetInput, VerifyDatasetState>;
  readonly unpack_dataset: JobProgram<UnpackDatasetInput, UnpackDatasetState>;
  readonly import_public_dataset: JobProgram<ImportPublicDatasetInput, ImportPublicDatasetState>;
}

/** When to call `advance` again; "ended" when the job is over and forgotten. */
export type Advance = { readonly again: "now" } | { readonly again: "later"; readonly ms: number } | "ended";

const RETRY_BASE_MS = 500;
const RETRY_MAX_MS = 60_000;

/** Keys of a job's storage; programs keep theirs under other names. */
const SPEC = "job";
const STATE = "state";
const ATTEMPTS = "attempts";
const FAILURE = "failure";

/** The runner hands each program what that program gave, so it need not know the types. */
type AnyProgram = JobProgram<unknown, unknown>;

export class JobRunner {
  readonly #sql: Sql;
  readonly #storage: JobStorage;
  readonly #programs: JobPrograms;
  /** Told about failures that are retried or end the job. */
  readonly #report: (job: NewJob, error: DataStreamError) => void;

  constructor(
    sql: Sql,
    storage: JobStorage,
    programs: JobPrograms,
    report: (job: NewJob, error: DataStreamError) => void = () => {},
  ) {
    this.#sql = sql;
    this.#storage = storage;
    this.#programs = programs;
    this.#report = report;
  }

  /** Remembers the job. Call `announce` and `advance` after it; a job that was given before goes on. */
  accept(job: NewJob): void {
    if (this.#storage.get(SPEC) === undefined) this.#storage.put({ [SPEC]: job });
  }

  /** Makes the job visible to its owner. */
  async announce(): Promise<void> {
    const job = this.#job();
    if (job !== undefined) await insertJob(this.#sql, job);
  }

  /** One bounded step. Never throws for what the step does: failures are counted, retried, and end the job. */
  async advance(): Promise<Advance> {
    const job = this.#job();
    if (job === undefined) return "ended";
    try {
      const failure = this.#storage.get(FAILURE) as JobError | undefined;
      return await (failure === undefined ? this.#step(job) : this.#undo(job, failure));
    } catch (thrown) {
      return this.#retry(job, DataStreamError.from(thrown));
    }
  }

  async #step(job: NewJob): Promise<Advance> {
    const program = this.#programs[job.kind] as unknown as AnyProgram;
    const info = infoOf(job);
    let state = this.#storage.get(STATE);
    if (state === undefined) {
      await this.announce();
      state = program.begin(info);
    }
    const outcome = await program.step(info, state, this.#storage);
    if (outcome.kind === "finished") {
      await this.#sql.transaction([succeedStatement(job.id, outcome.result), ...(outcome.commit ?? [])]);
      await this.#storage.clear();
      return "ended";
    }
    await this.#sql.query(progressStatement(job.id, outcome.done, outcome.total));
    this.#storage.put({ ...outcome.entries, [STATE]: outcome.state, [ATTEMPTS]: 0 });
    return { again: "now" };
  }

  async #undo(job: NewJob, failure: JobError): Promise<Advance> {
    const program = this.#programs[job.kind] as unknown as AnyProgram;
    if (await program.undo(infoOf(job), this.#storage)) return { again: "now" };
    await this.#sql.query(failStatement(job.id, failure));
    await this.#storage.clear();
    return "ended";
  }

  /** Tries again, or gives up and undoes. Undoing is tried for ever. */
  #retry(job: NewJob, error: DataStreamError): Advance {
    this.#report(job, error);
    const undoing = this.#storage.get(FAILURE) !== undefined;
    const attempts = ((this.#storage.get(ATTEMPTS) as number | undefined) ?? 0) + 1;
    if (!undoing && attempts >= attemptsFor(error)) {
      const { code, message, details } = error;
      this.#storage.put({ [FAILURE]: { code, message, details } satisfies JobError, [ATTEMPTS]: 0 });
      return { again: "now" };
    }
    this.#storage.put({ [ATTEMPTS]: attempts });
    return { again: "later", ms: Math.min(RETRY_MAX_MS, RETRY_BASE_MS * 2 ** (attempts - 1)) };
  }

  #job(): NewJob | undefined {
    return this.#storage.get(SPEC) as NewJob | undefined;
  }
}

/**
 * Runs a program to its end within the caller's request: nothing is kept, announced, or tried again.
 * @returns its result. A program with a commit must not be run like this.
 */
export async function runInline<Input, State>(
  program: JobProgram<Input, State>,
  job: JobInfo<Input>,
): Promise<Readonly<Record<string, unknown>>> {
  const storage = new MemoryJobStorage();
  for (let state = program.begin(job); ;) {
    const outcome = await program.step(job, state, storage);
    if (outcome.kind === "finished") return outcome.result;
    storage.put(outcome.entries ?? {});
    state = outcome.state;
  }
}

function infoOf(job: NewJob): JobInfo<unknown> {
  return { id: job.id, ownerId: job.ownerId, input: job.input };
}

/** How often a step may fail like this. What the caller did wrong will be wrong again. */
function attemptsFor(error: DataStreamError): number {
  if (error.retryable) return JOB_STEP_ATTEMPTS_UNAVAILABLE;
  const mayPass = error.code === "internal" || error.code === "aborted" || error.code === "canceled";
  return mayPass ? JOB_STEP_ATTEMPTS : 1;
}
