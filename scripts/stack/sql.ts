/** The `Sql` port over plain TCP, for programs that run beside the database: set-up, tests, benchmarks. */
import pg from "pg";
import { type Sql, SqlError, type SqlRow, type SqlStatement } from "../../core/ports.ts";

const INT8 = 20;
const INT8_ARRAY = 1016;
const BYTEA = 17;
const BYTEA_ARRAY = 1001;

type Parser = (text: string) => unknown;
const plain = (oid: number): Parser => pg.types.getTypeParser(oid) as Parser;

/** What the port promises where the driver's defaults differ. */
const PARSERS = new Map<number, Parser>([
  [INT8, BigInt],
  [
    INT8_ARRAY,
    (text) => (plain(INT8_ARRAY)(text) as (string | null)[]).map((n) => (n === null ? null : BigInt(n))),
  ],
  [BYTEA, (text) => bytes(plain(BYTEA)(text) as Buffer)],
  [
    BYTEA_ARRAY,
    (text) => (plain(BYTEA_ARRAY)(text) as (Buffer | null)[]).map((b) => (b === null ? null : bytes(b))),
  ],
]);
const TYPES: pg.CustomTypesConfig = { getTypeParser: (oid: number) => PARSERS.get(oid) ?? plain(oid) };

const bytes = (buffer: Buffer): Uint8Array => new Uint8Array(buffer);

export interface SqlConnection extends Sql {
  close(): Promise<void>;
}

/** A pool of connections; none is opened before the first statement, and idle ones keep no process alive. */
export function connectSql(databaseUrl: string, connections = 4): SqlConnection {
  const pool = new pg.Pool({
    connectionString: databaseUrl,
    max: connections,
    allowExitOnIdle: true,
    types: TYPES,
  });
  // A connection that the server ends while idle; the next statement opens another.
  pool.on("error", () => {});
  return {
    query: ({ text, values }) => run(pool, { text, values }),
    async transaction(statements) {
      const client = await pool.connect();
      let broken = false;
      try {
        await client.query("begin");
        const results: (readonly SqlRow[])[] = [];
        for (const statement of statements) results.push(await run(client, statement));
        await client.query("commit");
        return results;
      } catch (error) {
        await client.query("rollback").catch(() => (broken = true));
        throw error;
      } finally {
        client.release(broken);
      }
    },
    close: () => pool.end(),
  };
}

async function run(runner: pg.Pool | pg.PoolClient, statement: SqlStatement): Promise<readonly SqlRow[]> {
  try {
    return (await runner.query<SqlRow>(statement.text, [...statement.values])).rows;
  } catch (error) {
    if (error instanceof pg.DatabaseError && error.code) {
      throw new SqlError(error.code, error.message, error.constraint);
    }
    throw error;
  }
}
