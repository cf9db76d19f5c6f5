import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { chmodSync, existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { PortBusyError } from "../../scripts/stack/ports.ts";
import { type Postgres, startPostgres } from "../../scripts/stack/postgres.ts";
import { connectSql } from "../../scripts/stack/sql.ts";

const scratch = mkdtempSync(join(tmpdir(), "cyxcloud-test-"));
chmodSync(scratch, 0o711);
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

async function withSql<T>(postgres: Postgres, text: string): Promise<T> {
  const sql = connectSql(postgres.url());
  try {
    return (await sql.query({ text, values: [] })) as T;
  } finally {
    await sql.close();
  }
}

test("a server that is killed comes back with what it committed", async () => {
  const directory = join(scratch, "killed");
  const first = await startPostgres({ directory });
  await withSql(first, "create table kept as select generate_series(1, 100) as n");
  process.kill(first.pid, "SIGKILL");
  await first.ended;

  const second = await startPostgres({ directory, durable: false });
  expect(await withSql(second, "select count(*) from kept")).toEqual([{ count: 100n }]);
  await second.stop();
});

test("a pid file whose number now belongs to another process is no obstacle, and that process lives", async () => {
  const directory = join(scratch, "stale");
  const first = await startPostgres({ directory, durable: false });
  const data = await withSql<{ data_directory: string }[]>(first, "show data_directory");
  await first.stop();
  const pidFile = join(data[0]?.data_directory ?? "", "postmaster.pid");
  expect(existsSync(pidFile)).toBe(false);
  writeFileSync(pidFile, `${process.pid}\n${data[0]?.data_directory}\n0\n1\n\n127.0.0.1\n0 0\nready   \n`);

  const second = await startPostgres({ directory, durable: false });
  expect(await withSql(second, "select 1 as one")).toEqual([{ one: 1 }]);
  await second.stop();
});

test("the server ends when the process that started it is killed, and the next start takes over", async () => {
  const directory = join(scratch, "orphan");
  const owner: ChildProcess = fork(join(import.meta.dirname, "postgres-owner.ts"), [directory], {
    execArgv: [],
  });
  const [port] = (await once(owner, "message")) as [number];
  owner.kill("SIGKILL");
  await once(owner, "exit");

  const next = await startPostgres({ directory, port, durable: false });
  expect(await withSql(next, "select n from kept")).toEqual([{ n: 1 }]);
  await next.stop();
});

test("a busy port is an error that names the port and the option", async () => {
  const other = createServer().listen(0, "127.0.0.1");
  await once(other, "listening");
  const { port } = other.address() as { port: number };
  const start = startPostgres({
    directory: join(scratch, "busy"),
    port,
    portOption: "--database-port",
    durable: false,
  });
  await expect(start).rejects.toThrow(PortBusyError);
  await expect(start).rejects.toThrow(new RegExp(`Port ${port} is in use.*--database-port`));
  other.close();
});

test("two starts race for a database without an error, and a stopped server stays stopped", async () => {
  const postgres = await startPostgres({ directory: join(scratch, "plain"), durable: false });
  await Promise.all([postgres.createDatabase("app"), postgres.createDatabase("app")]);
  await postgres.dropDatabase("app");
  await Promise.all([postgres.stop(), postgres.stop()]);
  await expect(withSql(postgres, "select 1")).rejects.toThrow("ECONNREFUSED");
});
