/**
 * What one invocation of the Worker may still do. A stream hands over to the next invocation before any of it
 * is spent; the platform would otherwise cut it in the middle of a batch.
 */
import type { Clock, Sql } from "../../../core/ports.ts";
import type { ConnectionGate } from "../../../storage/connections.ts";

export interface InvocationLimits {
  /** Storage reads, SQL queries and calls of objects together. */
  readonly subrequests: number;
  readonly bytes: number;
  readonly ageMs: number;
}

/** Kept back for what a window needs besides its reads: lookups, a record, reports of damage. */
const CONTROL_RESERVE = 6;

export class InvocationBudget {
  readonly #connections: ConnectionGate;
  readonly #limits: InvocationLimits;
  readonly #clock: Clock;
  readonly #startedAt: number;
  #controlCalls = 0;
  #bytes = 0;

  /** @param connections counts the storage reads. */
  constructor(connections: ConnectionGate, limits: InvocationLimits, clock: Clock) {
    this.#connections = connections;
    this.#limits = limits;
    this.#clock = clock;
    this.#startedAt = clock.now();
  }

  /** Subrequests made so far. */
  get calls(): number {
    return this.#connections.calls + this.#controlCalls;
  }

  /** Storage reads that a window may make. */
  get allowedReads(): number {
    return this.#limits.subrequests - this.calls - CONTROL_RESERVE;
  }

  /** Whether bytes or time are used up. */
  get isSpent(): boolean {
    return this.#bytes >= this.#limits.bytes || this.#clock.now() - this.#startedAt >= this.#limits.ageMs;
  }

  countControlCall(): void {
    this.#controlCalls++;
  }

  countBytes(bytes: number): void {
    this.#bytes += bytes;
  }
}

/** The same database; `onCall` hears of each statement or transaction. */
export function countingSql(sql: Sql, onCall: () => void): Sql {
  return {
    query: (statement) => {
      onCall();
      return sql.query(statement);
    },
    transaction: (statements) => {
      onCall();
      return sql.transaction(statements);
    },
  };
}
