import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { DataStreamError } from "../../core/errors.ts";
import { type Sql, SqlError, type SqlRow, type SqlValue } from "../../core/ports.ts";
import { neonSql } from "../../functions/neon.ts";
import { createDatabase, type TestDatabase } from "../support/database.ts";

let database: TestDatabase;
let sql: Sql;
beforeAll(async () => {
  database = await createDatabase();
  sql = neonSql(database.url, database.bridge);
});
afterAll(() => database.close());

const query = (text: string, ...values: SqlValue[]): Promise<readonly SqlRow[]> =>
  sql.query({ text, values });

describe("values", () => {
  test("come back in the types that the port promises", async () => {
    const [row] =
      await query(`SELECT 9007199254740993::int8 AS big, count(*) AS count, 7::int4 AS four, 8::int2 AS two,
      true AS flag, null::int8 AS nothing, '\\x00ff'::bytea AS bytes, ''::bytea AS empty, 'text' AS text, 1.5::float8 AS float,
      '2026-11-01 12:00:00.25+00'::timestamptz AS time, '{"a": [1, null]}'::jsonb AS json,
      '{1,9007199254740993}'::int8[] AS bigs, '{a,"b,c"}'::text[] AS texts, ARRAY['\\xab'::bytea] AS blobs,
      gen_random_uuid() AS id`);
    expect(row).toEqual({
      big: 9007199254740993n,
      count: 1n,
      four: 7,
      two: 8,
      flag: true,
      nothing: null,
      bytes: new Uint8Array([0, 255]),
      empty: new Uint8Array(),
      text: "text",
      float: 1.5,
      time: new Date("2026-11-01T12:00:00.250Z"),
      json: { a: [1, null] },
      bigs: [1n, 9007199254740993n],
      texts: ["a", "b,c"],
      blobs: [new Uint8Array([0xab])],
      id: expect.stringMatching(/^[0-9a-f-]{36}$/) as string,
    });
    expect(row?.["bytes"]?.constructor).toBe(Uint8Array);
  });

  test("go in as they are, also in arrays", async () => {
    const bytes = Uint8Array.from({ length: 256 }, (_, index) => index);
    const [row] = await query(
      "SELECT $1::bytea AS bytes, $2::int8 AS big, $3::int8[] AS bigs, $4::text[] AS texts, $5::bool AS flag, $6::text AS nothing, $7::jsonb AS json",
      bytes.subarray(1, 255),
      2n ** 62n,
      [1n, 2n ** 61n],
      ["a", 'quote " and \\ and ,', "NULL", "", "ünï"],
      false,
      null,
      JSON.stringify([1, "x"]),
    );
    expect(row).toEqual({
      bytes: bytes.slice(1, 255),
      big: 2n ** 62n,
      bigs: [1n, 2n ** 61n],
      texts: ["a", 'quote " and \\ and ,', "NULL", "", "ünï"],
      flag: false,
      nothing: null,
      json: [1, "x"],
    });
  });
});

describe("a transaction", () => {
  const insert = (name: string): { text: string; values: string[] } => ({
    text: "INSERT INTO users (name, role) VALUES ($1, 'owner') RETURNING name",
    values: [name],
  });
  const names = async (): Promise<unknown[]> =>
    (await query("SELECT name FROM users ORDER BY name")).map((row) => row["name"]);

  test("answers the rows of each statement, and takes effect as a whole", async () => {
    expect(await sql.transaction([])).toEqual([]);
    expect(await sql.transaction([insert("one"), insert("two")])).toEqual([
      [{ name: "one" }],
      [{ name: "two" }],
    ]);
    expect(await names()).toEqual(["one", "two"]);
  });

  test("that fails leaves nothing, and says which rule refused it", async () => {
    const failed = sql.transaction([insert("three"), insert("one")]);
    await expect(failed).rejects.toThrow(SqlError);
    await expect(failed).rejects.toMatchObject({ state: "23505", constraint: "users_name_key" });
    expect(await names()).toEqual(["one", "two"]);
  });
});

describe("failures", () => {
  test("of a statement carry the SQLSTATE", async () => {
    await expect(query("SELECT nonsense")).rejects.toMatchObject({ name: "SqlError", state: "42703" });
  });

  test("to reach the database are `unavailable` and hide the connection string", async () => {
    const nowhere = neonSql("postgresql://app:hunter2@127.0.0.1:9/none", database.bridge);
    const failure = nowhere.query({ text: "SELECT 1", values: [] });
    await expect(failure).rejects.toThrow(DataStreamError);
    await expect(failure).rejects.toMatchObject({ code: "unavailable" });
    await expect(failure).rejects.not.toThrow(/hunter2/);
    expect(() => neonSql("hunter2")).toThrow(/DATABASE_URL is not/);
  });

  test("of a server that ends the connection are `unavailable`", async () => {
    const ended = query("SELECT pg_terminate_backend(pg_backend_pid())");
    await expect(ended).rejects.toMatchObject({ code: "unavailable" });
    expect(await query("SELECT 1 AS one")).toEqual([{ one: 1 }]);
  });
});
