import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { checkAppliedMigrations } from "../../scripts/stack/applied-migrations.ts";
import { migrate } from "../../scripts/stack/migrate.ts";
import { createDatabase } from "../support/database.ts";

const database = await createDatabase();
const directory = mkdtempSync(join(tmpdir(), "cyxcloud-migrations-"));
afterAll(async () => {
  await database.close();
  rmSync(directory, { recursive: true });
});

const tables = async (): Promise<readonly unknown[]> =>
  database.sql.query({
    text: `select relname, relkind from pg_class c join pg_namespace n on n.oid = relnamespace
           where nspname = 'public' and relkind in ('r', 'v', 'i')
             and relname not like 'schema_migrations%' order by 1`,
    values: [],
  });

test("the project's migrations are run once, can be undone one by one, and run again", async () => {
  const databaseUrl = database.url;
  expect(await migrate({ databaseUrl })).toEqual([]);
  const before = await tables();

  const undone: string[] = [];
  for (;;) {
    const names = await migrate({ databaseUrl, direction: "down" });
    if (names.length === 0) break;
    undone.push(...names);
  }
  expect(undone.at(-1)).toBe("0001_foundation");
  expect(await tables()).toEqual([]);

  expect(await migrate({ databaseUrl })).toEqual(undone.toReversed());
  expect(await tables()).toEqual(before);
});

test("one failing migration leaves the schema as it was, and files that are not SQL are not migrations", async () => {
  writeFileSync(join(directory, "0001_good.sql"), "-- Up Migration\ncreate table good (id int);\n");
  writeFileSync(join(directory, "0002_bad.sql"), "-- Up Migration\ncreate table bad (id nonsense);\n");
  writeFileSync(join(directory, "README.md"), "not a migration");
  const own = await createDatabase();
  await own.sql.query({ text: "drop table schema_migrations", values: [] });

  await expect(migrate({ databaseUrl: own.url, directory })).rejects.toThrow("nonsense");
  expect(await own.sql.query({ text: "select to_regclass('good') as good", values: [] })).toEqual([
    { good: null },
  ]);
  await own.close();
});

test("what ran is held against the folder: new migrations pass, changed, lost and unknown ones do not", async () => {
  const own = await createDatabase();
  await own.sql.query({ text: "drop table schema_migrations", values: [] });
  const migrations = mkdtempSync(join(directory, "changing-"));
  const state = mkdtempSync(join(directory, "state-"));
  const put = (name: string, text: string): void =>
    writeFileSync(join(migrations, name), `-- Up Migration\n${text}\n`);
  const check = (): Promise<void> => checkAppliedMigrations(own.sql, state, migrations);
  const run = (): Promise<string[]> => migrate({ databaseUrl: own.url, directory: migrations });

  put("0001_a.sql", "create table a (id nonsense);");
  await check();
  await expect(run()).rejects.toThrow("nonsense");
  // It never ran, so it may still change.
  put("0001_a.sql", "create table a (id int);");
  await check();
  await run();
  put("0002_b.sql", "create table b (id int);");
  await check();
  await check();
  await run();
  await check();

  put("0001_a.sql", "create table a (id int, more int);");
  await expect(check()).rejects.toThrow("(changed: 0001_a)");
  rmSync(join(migrations, "0001_a.sql"));
  await expect(check()).rejects.toThrow("(changed: 0001_a)");
  put("0001_a.sql", "create table a (id int);");
  await check();
  rmSync(join(state, "migrations.json"));
  await expect(check()).rejects.toThrow("(changed: 0001_a, 0002_b)");
  await own.close();
});
