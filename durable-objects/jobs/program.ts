/** What a kind of job is made of, apart from where it runs. */
import type { SqlStatement } from "../../core/ports.ts";

/**
 * What a job remembers between steps: structured-clone values under text keys. Written by the runner alone, so that
 * whatever a step says is kept together with the news that the step is done.
 */
export interface JobStorage {
  get(key: string): unknown;
  /** Entries whose key begins with `prefix`, in the order of their keys. */
  list(prefix: string): readonly (readonly [key: string, value: unknown])[];
  /** All or none. */
  put(entries: Readonly<Record<string, unknown>>): void;
  clear(): Promise<void>;
}

export interface JobInfo<Input> {
  readonly id: string;
  readonly ownerId: string;
  readonly input: Input;
}

export type StepOutcome<State> =
  | {
      readonly kind: "next";
      readonly state: State;
      /** Kept in the job's storage with the state, and readable by later steps. */
      readonly entries?: Readonly<Record<string, unknown>>;
      /** Units of work so far, and in all as soon as that is known. */
      readonly done: number;
      readonly total: number | null;
    }
  | {
      readonly kind: "finished";
      /** A JSON object for the owner. */
      readonly result: Readonly<Record<string, unknown>>;
      /** Run in the transaction that ends the job, after the result is stored; no effect when run again. */
      readonly commit?: readonly SqlStatement[];
    };

/**
 * A job as bounded steps. A step may be cut off anywhere and is then run again from the state before it, so
 * what it does outside must have the same effect when done twice. State is a structured-clone value.
 */
export interface JobProgram<Input, State> {
  begin(job: JobInfo<Input>): State;
  step(
    job: JobInfo<Input>,
    state: State,
    saved: Pick<JobStorage, "get" | "list">,
  ): Promise<StepOutcome<State>>;
  /**
   * Removes what a job that failed has left, a bounded amount in a call.
   * @returns whether anything is left.
   */
  undo(job: JobInfo<Input>, saved: Pick<JobStorage, "get" | "list">): Promise<boolean>;
}

/** Storage of a program that runs within one request. Copies, so that nobody holds what is stored. */
export class MemoryJobStorage implements JobStorage {
  readonly #entries = new Map<string, unknown>();

  get(key: string): unknown {
    return structuredClone(this.#entries.get(key));
  }

  list(prefix: string): readonly (readonly [string, unknown])[] {
    return [...this.#entries]
      .filter(([key]) => key.startsWith(prefix))
      .toSorted(([left], [right]) => (left < right ? -1 : 1))
      .map(([key, value]) => [key, structuredClone(value)]);
  }

  put(entries: Readonly<Record<string, unknown>>): void {
    for (const [key, value] of Object.entries(entries)) this.#entries.set(key, structuredClone(value));
  }

  clear(): Promise<void> {
    this.#entries.clear();
    return Promise.resolve();
  }
}
