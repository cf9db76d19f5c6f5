import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, chmodSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { DataStreamClient } from "../../client/client.ts";
import { startStack } from "../../scripts/stack/index.ts";

const entry = join(import.meta.dirname, "stand-in.worker.js");
const scratch = mkdtempSync(join(tmpdir(), "cyxcloud-stack-"));
chmodSync(scratch, 0o711);
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

interface Started {
  readonly child: ChildProcess;
  readonly output: () => string;
  readonly exited: Promise<unknown[]>;
}

/** `npm start` with the stand-in Worker on free ports. */
function npmStart(directory: string, ...more: string[]): Started {
  return start(directory, "--entry", entry, ...more);
}

/** The same with the gateway itself. */
function start(directory: string, ...more: string[]): Started {
  const ports = ["--port", "0", "--database-port", "0", "--bridge-port", "0"];
  const script = join(import.meta.dirname, "../../scripts/start.ts");
  const child = spawn(process.execPath, [script, "--directory", directory, ...ports, ...more]);
  let output = "";
  child.stdout.on("data", (chunk: Buffer) => (output += chunk.toString()));
  child.stderr.on("data", (chunk: Buffer) => (output += chunk.toString()));
  return { child, output: () => output, exited: once(child, "exit") };
}

async function running({ child, output, exited }: Started): Promise<void> {
  const ended = exited.then(() => {
    throw new Error(`It ended early: ${output()}`);
  });
  const announced = (async () => {
    while (!output().includes("Ctrl-C stops it.")) await once(child.stdout ?? child, "data");
  })();
  await Promise.race([announced, ended]);
}

interface Dev {
  readonly gateway_url: string;
  readonly companion_url: string;
  readonly api_key: string;
  readonly database_url: string;
  readonly bridge_url: string;
  readonly pid: number;
}
const readDev = (directory: string): Dev =>
  JSON.parse(readFileSync(join(directory, "dev.json"), "utf8")) as Dev;

test("the stack starts, keeps what it holds, and gives the same key again", async () => {
  const directory = join(scratch, "kept");
  const first = await startStack({ directory, entry, durable: false });
  expect(first.apiKey).toMatch(/^cyx_/);
  await fetch(first.gatewayUrl);
  await first.sql.query({ text: "insert into users (name, role) values ('ada', 'owner')", values: [] });
  await first.stop();
  await first.stop();
  await expect(fetch(first.gatewayUrl)).rejects.toThrow("fetch failed");

  const second = await startStack({ directory, entry, durable: false });
  expect(second.apiKey).toBe(first.apiKey);
  expect(await (await fetch(second.gatewayUrl)).json()).toMatchObject({ requests: 1, count: 2 });
  expect(await (await fetch(`${second.gatewayUrl}/sql`)).json()).toEqual({ users: 2 });
  await second.stop();
});

test("a kept state of other migrations is told with the way out, and stays as it is", async () => {
  const directory = join(scratch, "outdated");
  const first = await startStack({ directory, entry, durable: false });
  await first.stop();
  const file = join(directory, "migrations.json");
  const kept = readFileSync(file, "utf8");
  const { "0002_signatures": hash } = JSON.parse(kept) as Record<string, string>;
  expect(hash).toMatch(/^[0-9a-f]{64}$/);
  writeFileSync(file, kept.replace(hash as string, "0".repeat(64)));

  const refused = npmStart(directory);
  expect(await refused.exited).toEqual([1, null]);
  expect(refused.output()).toContain("(changed: 0002_signatures)");
  expect(refused.output()).toContain(`rm -r ${directory}\n`);
  expect(refused.output()).not.toMatch(/^ +at /m);

  writeFileSync(file, kept);
  const again = await startStack({ directory, entry, durable: false });
  expect(again.apiKey).toBe(first.apiKey);
  await again.stop();
});

test("without a directory nothing is left behind", async () => {
  const stack = await startStack({ entry });
  const [row] = await stack.sql.query({ text: "show data_directory", values: [] });
  expect(existsSync(String(row?.data_directory))).toBe(true);
  await stack.stop();
  expect(existsSync(String(row?.data_directory))).toBe(false);
});

test.each(["SIGINT", "SIGTERM"] as const)(
  "npm start announces itself, and stops cleanly on %s",
  async (signal) => {
    const directory = join(scratch, signal);
    const started = npmStart(directory);
    await running(started);
    const dev = readDev(directory);
    expect(statSync(join(directory, "dev.json")).mode & 0o777).toBe(0o600);
    expect(dev.pid).toBe(started.child.pid);
    expect(started.output()).toContain(dev.gateway_url);
    expect(started.output()).toContain(dev.companion_url);
    const wellKnown = await fetch(`${dev.companion_url}/.well-known/cyxcloud-companion`);
    expect(await wellKnown.json()).toMatchObject({ protocol: 1, gateway: dev.gateway_url });
    expect(started.output()).toContain(dev.api_key);
    expect((await fetch(dev.gateway_url)).ok).toBe(true);

    started.child.kill(signal);
    expect(await started.exited).toEqual([0, null]);
    expect(existsSync(join(directory, "dev.json"))).toBe(false);
  },
);

test("a second npm start names the process that runs; after kill -9 the next one takes over", async () => {
  const directory = join(scratch, "second");
  const first = npmStart(directory);
  await running(first);
  const second = npmStart(directory);
  expect(await second.exited).toEqual([1, null]);
  expect(second.output()).toContain(`already running as process ${first.child.pid}`);

  const before = readDev(directory);
  await fetch(before.gateway_url);
  first.child.kill("SIGKILL");
  await first.exited;

  const third = npmStart(directory, "--port", new URL(before.gateway_url).port);
  await running(third);
  const after = readDev(directory);
  expect(after).toMatchObject({ api_key: before.api_key, gateway_url: before.gateway_url });
  expect(await (await fetch(after.gateway_url)).json()).toMatchObject({ count: 2 });
  third.child.kill("SIGTERM");
  expect(await third.exited).toEqual([0, null]);
});

test("--digits brings a dataset to stream, once", { timeout: 180_000 }, async () => {
  const directory = join(scratch, "digits");
  const versions = [];
  for (const uploads of [true, false]) {
    const started = start(directory, "--digits");
    await running(started);
    expect(started.output().includes("Uploading 1797 images")).toBe(uploads);
    const { gateway_url: gateway, api_key: apiKey } = readDev(directory);
    const { datasets } = new DataStreamClient({ gateway, apiKey });
    for (const { name, version, file_count: files } of await datasets.versions("digits"))
      versions.push({ name, version, files });
    started.child.kill("SIGTERM");
    expect(await started.exited).toEqual([0, null]);
  }
  const only = { name: "digits", version: 1, files: 1797 };
  expect(versions).toEqual([only, only]);
});

test.each(["--port", "--database-port", "--bridge-port"])(
  "a busy %s is named, with its option",
  async (option) => {
    const other = createServer().listen(0, "127.0.0.1");
    await once(other, "listening");
    const { port } = other.address() as { port: number };
    const started = npmStart(join(scratch, `busy${option}`), option, `${port}`);
    expect(await started.exited).toEqual([1, null]);
    expect(started.output()).toContain(`Port ${port} is in use.`);
    expect(started.output()).toContain(`${option} PORT`);
    other.close();
  },
);
