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
  #bytes = 0;

  /** @param connections what every call of the invocation goes through. */
  constructor(connections: ConnectionGate, limits: InvocationLimits, clock: Clock) {
    this.#connections = connections;
    this.#limits = limits;
    this.#clock = clock;
    this.#startedAt = clock.now();
  }

  /** Storage reads that a window may make. */
  get allowedReads(): number {
    return this.#limits.subrequests - this.#connections.calls - CONTROL_RESERVE;
  }

  /** Whether bytes or time are used up. */
  get isSpent(): boolean {
    return this.#bytes >= this.#limits.bytes || this.#clock.now() - this.#startedAt >= this.#limits.ageMs;
  }

  countBytes(bytes: number): void {
    this.#bytes += bytes;
  }
}

/** The same database within an invocation's connections: each statement or transaction is one call. */
export function gatedSql(sql: Sql, connections: () => ConnectionGate): Sql {
  return {
    query: (statement) => connections().run(() => sql.query(statement)),
    transaction: (statements) => connections().run(() => sql.transaction(statements)),
  };
}
