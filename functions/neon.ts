/** The `Sql` port over Neon's HTTP driver: each call is one request, a whole transaction too. */
import { neon, NeonDbError, neonConfig, type NeonQueryFunction, types } from "@neondatabase/serverless";
import { fromHex, toHex } from "../core/bytes.ts";
import { DataStreamError } from "../core/errors.ts";
import { type Sql, SqlError, type SqlStatement, type SqlValue } from "../core/ports.ts";

/** SQLSTATE classes that blame the server: connection, resources, operator intervention. */
const SERVER_TROUBLE = /^(08|53|57)/;

type Driver = NeonQueryFunction<false, false>;

/**
 * @param databaseUrl connection string; it holds the password and never appears in an error.
 * @param localBridge `HOST:PORT` of the local stack's bridge. The driver's configuration is global, so
 *   one isolate talks either to a bridge or to Neon.
 * @returns a port whose calls fail with `SqlError`, or with `unavailable` when the database could not be
 *   asked. After `unavailable` a transaction may still have been committed: read again before a retry.
 */
export function neonSql(databaseUrl: string, localBridge?: string): Sql {
  if (localBridge) neonConfig.fetchEndpoint = `http://${localBridge}/sql`;
  const driver = connect(databaseUrl);
  return {
    query: (statement) => guarded(async () => await prepare(driver, statement)),
    async transaction(statements) {
      if (statements.length === 0) return [];
      return guarded(async () => await driver.transaction(statements.map((each) => prepare(driver, each))));
    },
  };
}

function connect(databaseUrl: string): Driver {
  // Checked here, because the driver's own complaint quotes the connection string.
  if (!URL.canParse(databaseUrl) || !/^postgres(ql)?:$/.test(new URL(databaseUrl).protocol)) {
    throw new DataStreamError("internal", "DATABASE_URL is not a PostgreSQL connection string.");
  }
  return neon(databaseUrl, { disableWarningInBrowsers: true });
}

/** The driver sends nothing before the query is awaited or made part of a transaction. */
function prepare(
  driver: Driver,
  { text, values }: SqlStatement,
): ReturnType<typeof driver.query<false, false>> {
  return driver.query(text, values.map(encode), { types: { getTypeParser } });
}

function encode(value: SqlValue): unknown {
  if (value instanceof Uint8Array) return `\\x${toHex(value)}`;
  return typeof value === "bigint" ? value.toString() : value;
}

type Parser = (text: string) => unknown;

/** PostgreSQL's type OIDs (`pg_type.oid`) whose values the driver would hand out in another form. */
const PARSERS: Readonly<Record<number, Parser>> = {
  17: parseBytea,
  20: BigInt, // int8
  1001: (text) => parseTextArray(text).map(parseBytea), // bytea[]
  1016: (text) => parseTextArray(text).map(BigInt), // int8[]
};

function getTypeParser(oid: number): Parser {
  return PARSERS[oid] ?? (types.getTypeParser(oid) as Parser);
}

function parseTextArray(text: string): string[] {
  return (types.getTypeParser(1009) as (text: string) => string[])(text);
}

function parseBytea(text: string): Uint8Array {
  const bytes = text.startsWith("\\x") ? fromHex(text, 2) : undefined;
  if (bytes === undefined)
    throw new DataStreamError("internal", "PostgreSQL sent a bytea that is not in hex format.");
  return bytes;
}

async function guarded<T>(ask: () => Promise<T>): Promise<T> {
  try {
    return await ask();
  } catch (thrown) {
    throw classify(thrown);
  }
}

function classify(thrown: unknown): Error {
  if (!(thrown instanceof NeonDbError)) return DataStreamError.from(thrown);
  const { code, message, constraint } = thrown;
  if (code !== undefined && !SERVER_TROUBLE.test(code)) return new SqlError(code, message, constraint);
  return new DataStreamError("unavailable", "The catalogue database did not answer. Try again shortly.", {
    cause: thrown.sourceError ?? thrown,
  });
}
