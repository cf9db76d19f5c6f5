/** Databases for tests: copies of one migrated template, on a server that the whole run shares. */
import { randomUUID } from "node:crypto";
import pg from "pg";
import { inject } from "vitest";
import { connectSql, type SqlConnection } from "../../scripts/stack/sql.ts";
import type { TestServer } from "./server.ts";

export interface TestDatabase {
  /** `postgresql://…`, as the gateway's DATABASE_URL. */
  readonly url: string;
  /** 127.0.0.1:PORT of the Neon bridge, as the gateway's NEON_LOCAL. */
  readonly bridge: string;
  readonly sql: SqlConnection;
  /** Closes the connections of `sql`. The database goes with the server at the end of the run. */
  close(): Promise<void>;
}

export async function testServer(): Promise<TestServer> {
  const response = await fetch(inject("testServer"));
  if (!response.ok) throw new Error(await response.text());
  return (await response.json()) as TestServer;
}

/** An empty, migrated database of its own for the caller: about 50 ms. */
export async function createDatabase(): Promise<TestDatabase> {
  const server = await testServer();
  const name = `t_${randomUUID().replaceAll("-", "")}`;
  const admin = new pg.Client({ connectionString: server.adminUrl });
  await admin.connect();
  try {
    await admin.query(`create database ${name} template ${server.template}`);
  } finally {
    await admin.end();
  }
  const url = new URL(server.adminUrl);
  url.pathname = `/${name}`;
  const sql = connectSql(url.href);
  return { url: url.href, bridge: server.bridge, sql, close: () => sql.close() };
}
