/**
 * A harness around the backend ports: counts and times out calls, crashes between them, and enforces what
 * production would: open connections, body sizes, calls of one invocation, bytes in flight.
 */
import { DataStreamError } from "../../core/errors.ts";
import { CONNECTIONS_PER_INVOCATION, ISOLATE_BUDGET_BYTES, PART_MAX_BYTES } from "../../core/limits.ts";
import type { ShardStore, Sql, SqlStatement } from "../../core/ports.ts";

export interface BackendCall {
  /** Counts from 1, over everything that the harness wraps. */
  readonly number: number;
  /** Name given to `wrapSql` or `wrapStore`. */
  readonly backend: string;
  readonly method: string;
  /** The shard's key, or the statement's text. */
  readonly subject: string;
  /** Bytes that the call sends or reads into memory. */
  readonly bytes: number;
}

/**
 * What goes wrong with a call:
 * - `fail`: it is not applied, and throws `unavailable`;
 * - `lose-answer`: it is applied, and throws `unavailable` all the same;
 * - `crash`, `crash-after`: the process dies before or after it is applied. From then on every call, open ones
 *   included, throws `CrashError` until `revive()`.
 */
export type Fault = "fail" | "lose-answer" | "crash" | "crash-after";

/** Asked before each call. May wait, to hold the call open; the call counts as open meanwhile. */
export type FaultPlan = (call: BackendCall) => Fault | undefined | Promise<Fault | undefined>;

/** The simulated death of the process: code under test must not survive it. */
export class CrashError extends Error {
  override readonly name = "CrashError";
}

/** Production would have refused or stalled this call. */
export class LimitViolation extends Error {
  override readonly name = "LimitViolation";
}

export interface HarnessLimits {
  readonly openCalls: number;
  readonly bodyBytes: number;
  readonly bytesInFlight: number;
  /** Calls until `revive()` or `newInvocation()`. */
  readonly calls: number;
}

const PRODUCTION: HarnessLimits = {
  openCalls: CONNECTIONS_PER_INVOCATION,
  bodyBytes: PART_MAX_BYTES,
  bytesInFlight: ISOLATE_BUDGET_BYTES,
  calls: Number.POSITIVE_INFINITY,
};

export class FaultHarness {
  plan: FaultPlan | undefined;
  readonly limits: HarnessLimits;
  /** Every call so far, in the order they were made. */
  readonly calls: BackendCall[] = [];
  /** Also thrown, but code under test may swallow what a call throws: look at it when a test ends. */
  readonly violations: string[] = [];
  /** Highest counts seen. */
  readonly peak: { openCalls: number; bytesInFlight: number; bodyBytes: number } = {
    openCalls: 0,
    bytesInFlight: 0,
    bodyBytes: 0,
  };
  #openCalls = 0;
  #bytesInFlight = 0;
  #invocationCalls = 0;
  #crashed = false;

  constructor(limits: Partial<HarnessLimits> = {}) {
    this.limits = { ...PRODUCTION, ...limits };
  }

  /** Ends a simulated crash, as a restarted process would, and stops injecting. */
  revive(): void {
    this.#crashed = false;
    this.plan = undefined;
    this.newInvocation();
  }

  /** Starts the count of calls anew. */
  newInvocation(): void {
    this.#invocationCalls = 0;
  }

  wrapSql(sql: Sql, backend = "sql"): Sql {
    return {
      query: (statement) =>
        this.#run({ backend, method: "query", subject: statement.text, bytes: sizeOf([statement]) }, () =>
          sql.query(statement),
        ),
      transaction: (statements) => {
        const subject = statements.map(({ text }) => text).join(";\n");
        const call = { backend, method: "transaction", subject, bytes: sizeOf(statements) };
        return this.#run(call, () => sql.transaction(statements));
      },
    };
  }

  wrapStore(store: ShardStore, backend: string): ShardStore {
    const call = (method: string, subject: string, bytes = 0): Omit<BackendCall, "number"> => ({
      backend,
      method,
      subject,
      bytes,
    });
    return {
      put: (key, bytes) => this.#run(call("put", key, bytes.byteLength), () => store.put(key, bytes)),
      read: (key, offset, length, into) =>
        this.#run(call("read", key, length), () => store.read(key, offset, length, into)),
      size: (key) => this.#run(call("size", key), () => store.size(key)),
      delete: (keys) => this.#run(call("delete", keys.join(" ")), () => store.delete(keys)),
      list: (prefix, startAfter) => this.#run(call("list", prefix), () => store.list(prefix, startAfter)),
    };
  }

  async #run<T>(details: Omit<BackendCall, "number">, apply: () => Promise<T>): Promise<T> {
    if (this.#crashed) throw new CrashError("The process has crashed.");
    const call = { number: this.calls.length + 1, ...details };
    this.calls.push(call);
    this.#openCalls++;
    this.#invocationCalls++;
    this.#bytesInFlight += call.bytes;
    try {
      this.#enforce(call);
      const fault = await this.plan?.(call);
      if (fault === "crash") this.#crashed = true;
      this.#throwIfCrashed();
      if (fault === "fail") throw unanswered(call);
      const result = await apply();
      if (fault === "crash-after") this.#crashed = true;
      this.#throwIfCrashed();
      if (fault === "lose-answer") throw unanswered(call);
      return result;
    } finally {
      this.#openCalls--;
      this.#bytesInFlight -= call.bytes;
    }
  }

  #throwIfCrashed(): void {
    if (this.#crashed) throw new CrashError("The process has crashed.");
  }

  #enforce(call: BackendCall): void {
    const { peak, limits } = this;
    peak.openCalls = Math.max(peak.openCalls, this.#openCalls);
    peak.bytesInFlight = Math.max(peak.bytesInFlight, this.#bytesInFlight);
    peak.bodyBytes = Math.max(peak.bodyBytes, call.bytes);
    const seen: HarnessLimits = {
      openCalls: this.#openCalls,
      bodyBytes: call.bytes,
      bytesInFlight: this.#bytesInFlight,
      calls: this.#invocationCalls,
    };
    for (const name of Object.keys(limits) as (keyof HarnessLimits)[]) {
      if (seen[name] <= limits[name]) continue;
      const violation = `${name}: ${seen[name]} is above ${limits[name]} at call ${call.number} (${call.backend} ${call.method})`;
      this.violations.push(violation);
      throw new LimitViolation(violation);
    }
  }
}

function unanswered(call: BackendCall): DataStreamError {
  return new DataStreamError("unavailable", `${call.backend} did not answer.`);
}

/** Roughly what the statements weigh in a request. */
function sizeOf(statements: readonly SqlStatement[]): number {
  let bytes = 0;
  for (const { text, values } of statements) {
    bytes += text.length;
    for (const value of values) {
      // Bytes travel as hexadecimal digits.
      if (value instanceof Uint8Array) bytes += 2 * value.byteLength;
      else if (Array.isArray(value)) for (const element of value) bytes += String(element).length;
      else bytes += String(value).length;
    }
  }
  return bytes;
}
