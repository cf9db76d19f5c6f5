/** How every file of this folder writes statements and reads rows. */
import { toHex } from "../core/bytes.ts";
import { DataStreamError } from "../core/errors.ts";
import { SqlError, type SqlRow, type SqlStatement, type SqlValue } from "../core/ports.ts";

/**
 * A statement from a template: statement`select … where id = ${id}`. Every hole becomes a numbered
 * parameter, never text. PostgreSQL infers its type; write `${ids}::uuid[]` where it cannot.
 * An array is a PostgreSQL array; give jsonb as `JSON.stringify(value)` and bytea[] as `byteaArray(list)`.
 */
export function statement(strings: TemplateStringsArray, ...values: SqlValue[]): SqlStatement {
  let text = strings[0] ?? "";
  for (let i = 0; i < values.length; i++) text += `$${i + 1}${strings[i + 1]}`;
  return { text, values };
}

/** A bytea[] parameter: drivers take no arrays of byte arrays, so its elements travel in hexadecimal. */
export function byteaArray(list: readonly (Uint8Array | null)[]): (string | null)[] {
  return list.map((bytes) => (bytes === null ? null : `\\x${toHex(bytes)}`));
}

/** Where a list by time of creation goes on: after this row. Times are exact to the millisecond. */
export interface CreationPosition {
  readonly createdAtMs: number;
  readonly id: string;
}

/** The only row of an answer that has exactly one. */
export function onlyRow(rows: readonly SqlRow[]): SqlRow {
  const row = rows[0];
  if (row === undefined || rows.length !== 1)
    throw new DataStreamError("internal", `The catalog answered ${rows.length} rows where one was expected.`);
  return row;
}

type Parser<T> = (row: SqlRow, column: string) => T;

function parser<T>(type: string, accepts: (value: unknown) => T | undefined): Parser<T> {
  return (row, column) => {
    const value = accepts(row[column]);
    if (value === undefined)
      throw new DataStreamError("internal", `The catalog's column ${column} is not ${type}.`);
    return value;
  };
}

/** text, uuid. */
export const textOf: Parser<string> = parser("text", (value) =>
  typeof value === "string" ? value : undefined,
);

/** smallint, integer, and bigint within the safe range, as a number. */
export const numberOf: Parser<number> = parser("a safe number", (value) => {
  const number = typeof value === "bigint" ? Number(value) : value;
  return typeof number === "number" && Number.isSafeInteger(number) ? number : undefined;
});

export const booleanOf: Parser<boolean> = parser("a boolean", (value) =>
  typeof value === "boolean" ? value : undefined,
);

export const bytesOf: Parser<Uint8Array> = parser("bytea", (value) =>
  value instanceof Uint8Array ? value : undefined,
);

export const dateOf: Parser<Date> = parser("a time", (value) => (value instanceof Date ? value : undefined));

/** text[], uuid[]. */
export const textsOf: Parser<readonly string[]> = parser("an array of text", (value) =>
  Array.isArray(value) && value.every((item) => typeof item === "string") ? value : undefined,
);

/** The same parser for a column that may be null. */
export function nullable<T>(parse: Parser<T>): Parser<T | null> {
  return (row, column) => (row[column] === null ? null : parse(row, column));
}

/** Whether `error` is PostgreSQL's refusal by this constraint (a rule of `require_that` counts as one). */
export function isRefusedBy(error: unknown, constraint: string): boolean {
  return error instanceof SqlError && error.constraint === constraint;
}
