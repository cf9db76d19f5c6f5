/** Nodes, bound tokens and shares as a person meets them: the command in processes of its own. */
import { execFile } from "node:child_process";
import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { addUser } from "../api/users.ts";
import {
  addDataset,
  noiseFiles,
  startStreamGateway,
  type StreamGateway,
  type TestDataset,
} from "../stream/fixture.ts";

const MAIN = join(import.meta.dirname, "..", "..", "cli", "main.ts");

let gateway: StreamGateway;
let dataset: TestDataset;
let home: string;
beforeAll(async () => {
  gateway = await startStreamGateway();
  dataset = await addDataset(
    gateway,
    noiseFiles(5, () => 50),
  );
  home = mkdtempSync(join(tmpdir(), "cyxcloud-tokens-"));
});
afterAll(async () => {
  await gateway.stop();
  rmSync(home, { recursive: true, force: true });
});

interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** @param apiKey empty: none, as on a training node. */
function run(arguments_: readonly string[], apiKey: string = gateway.owner.apiKey): Promise<Outcome> {
  const env = {
    PATH: process.env["PATH"] ?? "",
    HOME: home,
    CYXCLOUD_GATEWAY: gateway.url,
    ...(apiKey !== "" && { CYXCLOUD_API_KEY: apiKey }),
  };
  return new Promise((resolve) => {
    execFile(process.execPath, [MAIN, ...arguments_], { env, cwd: home }, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr });
    });
  });
}

async function succeed(...arguments_: string[]): Promise<string> {
  const { code, stdout, stderr } = await run(arguments_);
  expect([code, stderr]).toEqual([0, ""]);
  return stdout;
}

test("a node's token streams with the node's key, and with no other, until the node is revoked", async () => {
  expect(await succeed("node", "register", "node-1")).toMatch(
    /^Training node registered: node-1\n {2}Public key: \S{43}\n {2}File: .*\/nodes\/node-1\.json\n {2}Id: /,
  );
  const file = join(home, ".config", "cyxcloud", "nodes", "node-1.json");
  expect(statSync(file).mode & 0o777).toBe(0o600);
  const created = await succeed("dataset", "token", dataset.name, "--node", "node-1");
  expect(created).toMatch(/^Access token created:\n {2}Dataset: .*\n {2}Node: node-1\n/);
  const token = /Token: (\S+)/.exec(created)?.[1] ?? "";

  const stream = (...options: string[]): Promise<Outcome> =>
    run(["stream", dataset.id, "--count", "--token", token, ...options], "");
  expect((await stream("--node-key", "node-1")).stdout).toContain("Items verified: 5");
  expect((await stream("--node-key", file)).code).toBe(0);
  const without = await stream();
  expect([without.code, without.stderr]).toEqual([1, expect.stringContaining("DPoP")]);
  await succeed("node", "register", "node-2");
  expect((await stream("--node-key", "node-2")).code).toBe(1);
  writeFileSync(join(home, "nonsense.json"), "{}");
  expect((await stream("--node-key", "./nonsense.json")).stderr).toContain("damaged");

  expect(await succeed("dataset", "tokens", dataset.name)).toMatch(/ node-1 +owner +until /);
  expect(await succeed("node", "revoke", "node-1")).toBe("Training node revoked: node-1\n");
  expect(await succeed("dataset", "tokens", dataset.name)).toMatch(/ node-1 +owner +revoked /);
  expect(await succeed("node", "list")).toMatch(/node-1 +key +\S+ \S+ UTC +revoked /);
  expect((await stream("--node-key", "node-1")).code).toBe(1);
});

test("a share is taken back by the user as they were named, whatever they were named by", async () => {
  const zoe = await addUser(gateway, "zoe");
  const withWhom = (...options: string[]): Promise<string> =>
    succeed("dataset", ...options.slice(0, 1), dataset.name, "--with", ...options.slice(1));
  for (const [given, taken] of [
    ["zoe", "zoe"],
    [zoe.userId, zoe.userId],
    [zoe.userId.toUpperCase(), zoe.userId.toUpperCase()],
    ["zoe", zoe.userId],
    ["Zoe@Example.com", "Zoe@Example.com"],
  ] as const) {
    await withWhom("share", given);
    expect(await withWhom("unshare", taken)).toMatch(/^Share ended: zoe(@example\.com)? \(read, stream\)\n$/);
  }
});

test("a dataset is shared, listed and taken back", async () => {
  const bob = await addUser(gateway, "bob");
  const reference = `owner/${dataset.name}`;
  expect((await run(["dataset", "info", reference], bob.apiKey)).code).toBe(1);
  expect(
    await succeed("dataset", "share", dataset.name, "--with", "bob", "--permissions", "read", "--ttl", "7d"),
  ).toMatch(/^Shared dataset: .*\n {2}User: bob\n {2}Permissions: read\n {2}Expires: 20.*UTC\n {2}Id: /);
  expect((await run(["dataset", "info", reference], bob.apiKey)).code).toBe(0);
  expect(await succeed("dataset", "shares", dataset.name)).toMatch(/\nbob +read +owner +20/);
  expect(await succeed("dataset", "unshare", dataset.name, "--with", "bob")).toBe(
    "Share ended: bob (read)\n",
  );
  expect((await run(["dataset", "info", reference], bob.apiKey)).code).toBe(1);
  expect((await run(["dataset", "unshare", dataset.name, "--with", "bob"])).stderr).toContain(
    "no such share",
  );
  expect((await run(["dataset", "unshare", dataset.name])).stderr).toContain("--with USER or --id ID");
});
