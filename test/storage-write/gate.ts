/** Holds transactions right before their commit, so that a test can run another one against each. */
import pg from "pg";
import type { Sql } from "../../core/ports.ts";
import type { Bench } from "./fixture.ts";

const LOCK = 77;

export interface Gate {
  /** Transactions on it wait before they commit, with all their locks, until `open`. */
  readonly sql: Sql;
  /** Settles when a transaction waits at the gate. */
  reached(): Promise<void>;
  /** Settles when so many sessions wait for a lock, those at the gate included. */
  blocked(sessions: number): Promise<void>;
  open(): Promise<void>;
  close(): Promise<void>;
}

export async function closedGate(bench: Bench): Promise<Gate> {
  const keeper = new pg.Client({ connectionString: bench.databaseUrl });
  await keeper.connect();
  await keeper.query(`select pg_advisory_lock(${LOCK})`);
  const until = async (query: string, count: number): Promise<void> => {
    for (;;) if (Number((await keeper.query<{ n: string }>(query)).rows[0]?.n) >= count) return;
  };
  return {
    sql: {
      query: (statement) => bench.sql.query(statement),
      transaction: async (statements) => {
        const gate = { text: `select pg_advisory_xact_lock_shared(${LOCK})`, values: [] };
        return (await bench.sql.transaction([...statements, gate])).slice(0, -1);
      },
    },
    reached: () => until("select count(*) as n from pg_locks where locktype = 'advisory' and not granted", 1),
    blocked: (sessions) =>
      until(
        "select count(*) as n from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'",
        sessions,
      ),
    open: async () => void (await keeper.query(`select pg_advisory_unlock(${LOCK})`)),
    close: () => keeper.end(),
  };
}
