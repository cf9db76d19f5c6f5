import { afterAll, expect, test } from "vitest";
import { createDatabase } from "./database.ts";

const first = await createDatabase();
const second = await createDatabase();
afterAll(() => Promise.all([first.close(), second.close()]));

test("each database starts with the migrated schema and shares nothing", async () => {
  await first.sql.query({ text: "insert into users (name, role) values ($1, $2)", values: ["ada", "owner"] });
  const count = { text: "select count(*) as n from users", values: [] };
  expect(await first.sql.query(count)).toEqual([{ n: 1n }]);
  expect(await second.sql.query(count)).toEqual([{ n: 0n }]);
});
