/** Crashes and lost answers at any call to the database or to a node. */
import { DataStreamError } from "../../core/errors.ts";
import type { ShardStore, Sql } from "../../core/ports.ts";
import type { DepsOverrides } from "./fixture.ts";

/**
 * crash: from this call on every call fails, as for a process that died. lost: this call alone fails.
 * before: the call had no effect. after: it took effect, but its answer did not arrive.
 */
export interface Fault {
  readonly call: number;
  readonly kind: "crash" | "lost";
  readonly when: "before" | "after";
}

/** Wraps the database and all stores, numbers their calls from 0, and lets one fault happen. */
export class FaultInjector {
  readonly #fault: Fault | undefined;
  calls = 0;

  constructor(fault?: Fault) {
    this.#fault = fault;
  }

  overrides(sql: Sql): DepsOverrides {
    return { sql: this.#sql(sql), wrap: (store) => this.#store(store) };
  }

  async #call<T>(act: () => Promise<T>): Promise<T> {
    const number = this.calls++;
    const { call = -1, kind, when } = this.#fault ?? {};
    const fails = call >= 0 && (kind === "crash" ? number >= call : number === call);
    if (!fails) return act();
    // Of a crash only the first call can still have had its effect.
    if (when === "after" && number === call) await act();
    throw new DataStreamError("unavailable", `Fault at call ${number}.`);
  }

  #sql(sql: Sql): Sql {
    return {
      query: (statement) => this.#call(() => sql.query(statement)),
      transaction: (statements) => this.#call(() => sql.transaction(statements)),
    };
  }

  #store(store: ShardStore): ShardStore {
    return {
      put: (...args) => this.#call(() => store.put(...args)),
      read: (...args) => this.#call(() => store.read(...args)),
      size: (...args) => this.#call(() => store.size(...args)),
      delete: (...args) => this.#call(() => store.delete(...args)),
      list: (...args) => this.#call(() => store.list(...args)),
    };
  }
}

/** Every fault of an operation that makes so many calls. */
export function everyFault(calls: number): Fault[] {
  return Array.from({ length: calls }, (_, call) =>
    (["crash", "lost"] as const).flatMap((kind) =>
      (["before", "after"] as const).map((when) => ({ call, kind, when })),
    ),
  ).flat();
}
