import { neon, neonConfig, Pool } from "@neondatabase/serverless";
import { afterAll, beforeEach, describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { createDatabase } from "../support/database.ts";

const database = await createDatabase();
const endpoint = `http://${database.bridge}/sql`;
neonConfig.fetchEndpoint = endpoint;
neonConfig.wsProxy = (host, port) => `${database.bridge}/v2?address=${host}:${port}`;
neonConfig.useSecureWebSocket = false;
neonConfig.pipelineConnect = false;
neonConfig.webSocketConstructor = WebSocket;
afterAll(() => database.close());

const sql = neon(database.url, { fullResults: true });
const single = async (query: string, ...values: unknown[]): Promise<unknown> => {
  const { rows } = await sql.query(query, values);
  return Object.values(rows[0] ?? {})[0];
};

beforeEach(async () => {
  await database.sql.query({ text: "drop table if exists t", values: [] });
  await database.sql.query({
    text: "create table t (id int primary key constraint small check (id < 10))",
    values: [],
  });
});

describe("types go out and come back", () => {
  const digest = new Uint8Array([0, 1, 0x7f, 0x80, 0xff]);
  test.each<[type: string, sent: unknown, received: unknown]>([
    ["bool", true, true],
    ["int4", -7, -7],
    ["int8", 2n ** 53n + 1n, "9007199254740993"],
    ["float8", 0.1, 0.1],
    ["text", "naïve ' \" \\ \n ☃ {}", "naïve ' \" \\ \n ☃ {}"],
    ["text", null, null],
    ["bytea", digest, Buffer.from(digest)],
    ["bytea", new Uint8Array(), Buffer.alloc(0)],
    ["uuid", "6f1c1c39-6b3a-4d4b-9b1b-2f5dd9f0a001", "6f1c1c39-6b3a-4d4b-9b1b-2f5dd9f0a001"],
    ["timestamptz", "2026-11-22T12:30:00.123Z", new Date("2026-11-22T12:30:00.123Z")],
    ["jsonb", JSON.stringify({ a: [1, { b: null }], c: "☃" }), { a: [1, { b: null }], c: "☃" }],
    ["jsonb", JSON.stringify(["an array", 2]), ["an array", 2]],
    ["text[]", ["a", 'b "q" \\ , {}', "", null], ["a", 'b "q" \\ , {}', "", null]],
    ["int8[]", [1n, -(2n ** 62n), null], ["1", "-4611686018427387904", null]],
    ["bytea[]", ["\\x00ff", "\\x", null], [Buffer.from([0, 255]), Buffer.alloc(0), null]],
    ["uuid[]", ["6f1c1c39-6b3a-4d4b-9b1b-2f5dd9f0a001"], ["6f1c1c39-6b3a-4d4b-9b1b-2f5dd9f0a001"]],
    ["int4[]", [], []],
  ])("%s, case %#", async (type, sent, received) => {
    expect(await single(`select $1::${type}`, sent)).toEqual(received);
  });

  test("full results name fields, types, command and count", async () => {
    const result = await sql.query("select 1::int8 as one, 'x'::text as two");
    expect(result).toMatchObject({ command: "SELECT", rowCount: 1, rows: [{ one: "1", two: "x" }] });
    expect(result.fields.map(({ name, dataTypeID }) => [name, dataTypeID])).toEqual([
      ["one", 20],
      ["two", 25],
    ]);
  });

  test("without the driver's headers, rows are objects of JSON values", async () => {
    const response = await fetch(endpoint, {
      method: "POST",
      headers: { "Neon-Connection-String": database.url },
      body: JSON.stringify({ query: "select 1 as one, true as yes", params: [] }),
    });
    expect(await response.json()).toMatchObject({ rows: [{ one: 1, yes: true }] });
  });
});

describe("errors", () => {
  test("a refused statement answers 400 with PostgreSQL's fields", async () => {
    await sql.query("insert into t values (1)");
    await expect(sql.query("insert into t values (1)")).rejects.toMatchObject({
      name: "NeonDbError",
      code: "23505",
      severity: "ERROR",
      constraint: "t_pkey",
      table: "t",
      detail: "Key (id)=(1) already exists.",
    });
  });

  test("a wrong password answers 400 with its code", async () => {
    const url = new URL(database.url);
    url.password = "wrong";
    await expect(neon(url.href)`select 1`).rejects.toMatchObject({ code: "28P01" });
  });

  test.each([
    ["not JSON", "nonsense"],
    ["JSON of another shape", '{"sql": "select 1"}'],
  ])("a body that is %s is refused", async (_what, body) => {
    const response = await fetch(endpoint, {
      method: "POST",
      headers: { "Neon-Connection-String": database.url },
      body,
    });
    expect(response.status).toBe(400);
  });
});

describe("transactions", () => {
  const count = async (): Promise<unknown> => single("select count(*)::int from t");

  test("a batch commits as one and answers per statement", async () => {
    const results = await sql.transaction([
      sql.query("insert into t values (1), (2)"),
      sql.query("select id from t order by id"),
    ]);
    expect(results.map(({ rowCount }) => rowCount)).toEqual([2, 2]);
    expect(results[1]?.rows).toEqual([{ id: 1 }, { id: 2 }]);
    expect(await count()).toBe(2);
  });

  test("a failing statement rolls the whole batch back", async () => {
    const batch = [sql.query("insert into t values (1)"), sql.query("insert into t values (10)")];
    await expect(sql.transaction(batch)).rejects.toMatchObject({ code: "23514", constraint: "small" });
    expect(await count()).toBe(0);
  });

  test("the pool's connections are usable after more failures than it holds", async () => {
    const fail = (): Promise<unknown> => sql.transaction([sql.query("select 1 / 0")]);
    const outcomes = await Promise.allSettled(Array.from({ length: 25 }, fail));
    expect(outcomes.every(({ status }) => status === "rejected")).toBe(true);
    expect(await count()).toBe(0);
  });

  test.each(["ReadUncommitted", "ReadCommitted", "RepeatableRead", "Serializable"] as const)(
    "isolation %s is honoured",
    async (isolationLevel) => {
      const [result] = await sql.transaction([sql.query("show transaction_isolation")], { isolationLevel });
      const shown = String(result?.rows[0]?.transaction_isolation);
      expect(shown.replaceAll(" ", "")).toBe(isolationLevel.toLowerCase());
    },
  );

  test("read-only and deferrable are honoured", async () => {
    const options = { isolationLevel: "Serializable", readOnly: true, deferrable: true } as const;
    const [result] = await sql.transaction([sql.query("show transaction_deferrable")], options);
    expect(result?.rows).toEqual([{ transaction_deferrable: "on" }]);
    const write = sql.transaction([sql.query("insert into t values (1)")], { readOnly: true });
    await expect(write).rejects.toMatchObject({ code: "25006" });
  });

  test("an unknown isolation level is refused, not passed to the server", async () => {
    const response = await fetch(endpoint, {
      method: "POST",
      headers: {
        "Neon-Connection-String": database.url,
        "Neon-Batch-Isolation-Level": "serializable; drop table t",
      },
      body: JSON.stringify({ queries: [{ query: "select 1" }] }),
    });
    expect(response.status).toBe(400);
  });
});

describe("WebSocket", () => {
  test("carries an interactive transaction", async () => {
    const pool = new Pool({ connectionString: database.url, max: 1 });
    pool.on("error", () => {});
    const client = await pool.connect();
    await client.query("begin");
    await client.query("insert into t values (3)");
    const inside = await client.query("select id from t");
    await client.query("rollback");
    client.release();
    await pool.end();
    expect(inside.rows).toEqual([{ id: 3 }]);
    expect(await single("select count(*)::int from t")).toBe(0);
  });
});

describe("it is no open proxy", () => {
  test.each([
    ["another host", "postgresql://cyxcloud:x@192.0.2.1:5432/app"],
    ["another port", "postgresql://cyxcloud:x@127.0.0.1:1/app"],
    ["a host parameter", `${database.url}?host=192.0.2.1`],
    ["no connection string", ""],
  ])("POST /sql for %s", async (_what, connectionString) => {
    const response = await fetch(endpoint, {
      method: "POST",
      headers: { "Neon-Connection-String": connectionString },
      body: JSON.stringify({ query: "select 1", params: [] }),
    });
    expect(response.status).toBe(403);
    expect(await response.text()).not.toContain("cyxcloud:");
  });

  test("a browser", async () => {
    const response = await fetch(endpoint, {
      method: "POST",
      headers: { "Neon-Connection-String": database.url, Origin: "https://example.com" },
      body: JSON.stringify({ query: "select 1", params: [] }),
    });
    expect(response.status).toBe(403);
  });

  test.each([
    ["another address", "/v2?address=192.0.2.1:5432", {}],
    ["no address", "/v2", {}],
    ["a browser", `/v2?address=${new URL(database.url).host}`, { origin: "https://example.com" }],
  ])("WS /v2 for %s", async (_what, path, headers) => {
    const socket = new WebSocket(`ws://${database.bridge}${path}`, { headers });
    const status = await new Promise((resolve, reject) => {
      socket.on("unexpected-response", (_request, response) => resolve(response.statusCode));
      socket.on("error", reject);
      socket.on("open", () => reject(new Error("it was opened")));
    });
    expect(status).toBe(403);
  });
});
