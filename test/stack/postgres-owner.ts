/** A process of its own that starts a server and waits to be killed. */
import { startPostgres } from "../../scripts/stack/postgres.ts";
import { connectSql } from "../../scripts/stack/sql.ts";

const postgres = await startPostgres({ directory: process.argv[2] ?? "", durable: false });
const sql = connectSql(postgres.url());
await sql.query({ text: "create table kept as select 1 as n", values: [] });
process.send?.(postgres.port);
