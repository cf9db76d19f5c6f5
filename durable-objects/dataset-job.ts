/** The Durable Object of one job, named by the job's id: it steps by alarms and remembers in SQLite. */
import { DurableObject } from "cloudflare:workers";
import type { NewJob } from "../catalog/jobs.ts";
import type { DataStreamError } from "../core/errors.ts";
import type { Sql } from "../core/ports.ts";
import type { JobStorage } from "./jobs/program.ts";
import { type JobPrograms, JobRunner } from "./jobs/runner.ts";

/** What jobs work with during one invocation. */
export interface JobServices {
  readonly sql: Sql;
  readonly programs: JobPrograms;
  /** A step failed; it will be tried again, or the job ends. */
  readonly report: (job: NewJob, error: DataStreamError) => void;
}

/**
 * If the process dies in a step, this alarm brings the job back. It may be shorter than a step: an object runs one
 * alarm at a time, and the end of each sets the next.
 */
const WATCHDOG_MS = 2_000;
/** One invocation makes as many steps as begin within this time. */
const INVOCATION_MS = 10_000;
/** Before the next try when not even the services could be had. */
const UNAVAILABLE_MS = 5_000;

export abstract class DatasetJobObject<Env = Cloudflare.Env> extends DurableObject<Env> {
  readonly #storage: JobStorage;

  constructor(state: DurableObjectState, env: Env) {
    super(state, env);
    this.#storage = sqliteStorage(state.storage);
  }

  /** Adapters for one invocation. */
  protected abstract open(): Promise<JobServices>;

  /** Takes the job on: from here on it runs to its end, whatever becomes of the caller. */
  async start(job: NewJob): Promise<void> {
    const runner = await this.#runner();
    runner.accept(job);
    await this.ctx.storage.setAlarm(Date.now());
    await runner.announce();
  }

  override async alarm(): Promise<void> {
    const startedAt = Date.now();
    await this.ctx.storage.setAlarm(startedAt + WATCHDOG_MS);
    let runner: JobRunner;
    try {
      runner = await this.#runner();
    } catch {
      await this.ctx.storage.setAlarm(Date.now() + UNAVAILABLE_MS);
      return;
    }
    do {
      const advance = await runner.advance();
      if (advance === "ended") return this.ctx.storage.deleteAlarm();
      if (advance.again === "later") return this.ctx.storage.setAlarm(Date.now() + advance.ms);
    } while (Date.now() < startedAt + INVOCATION_MS);
    await this.ctx.storage.setAlarm(Date.now());
  }

  async #runner(): Promise<JobRunner> {
    const { sql, programs, report } = await this.open();
    return new JobRunner(sql, this.#storage, programs, report);
  }
}

function sqliteStorage(storage: DurableObjectStorage): JobStorage {
  return {
    get: (key) => storage.kv.get(key),
    list: (prefix) => [...storage.kv.list({ prefix })],
    put(entries) {
      storage.transactionSync(() => {
        for (const [key, value] of Object.entries(entries)) storage.kv.put(key, value);
      });
    },
    clear: () => storage.deleteAll(),
  };
}
