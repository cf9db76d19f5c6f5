import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { once } from "node:events";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { type Gateway, NODE_COUNT, startGateway } from "../../scripts/stack/gateway.ts";
import { createDatabase } from "../support/database.ts";

const entry = join(import.meta.dirname, "stand-in.worker.js");
const directory = mkdtempSync(join(tmpdir(), "cyxcloud-gateway-"));
const database = await createDatabase();
const bindings = { DATABASE_URL: database.url, NEON_LOCAL: database.bridge };
const gateway = await startGateway({ directory, bindings, entry });
afterAll(async () => {
  await gateway.stop();
  await database.close();
  rmSync(directory, { recursive: true });
});

interface Answer {
  readonly requests: number;
  readonly count: number;
  readonly bindings: readonly string[];
}
const ask = async (from: Gateway): Promise<Answer> => (await fetch(from.url)).json() as Promise<Answer>;

test("six buckets, the Durable Objects and the given bindings are bound", async () => {
  const limits = ["RATE_ADDRESS", "RATE_READ", "RATE_SIGN_IN", "RATE_STREAM", "RATE_WRITE"];
  const nodes = Array.from({ length: NODE_COUNT }, (_, index) => `NODE_${index + 1}`);
  const { bindings: bound } = await ask(gateway);
  expect(bound).toEqual([
    "DATABASE_URL",
    "DATASET_JOBS",
    "NEON_LOCAL",
    ...nodes,
    "PROOF_LEDGERS",
    ...limits,
    "STREAM_SESSIONS",
  ]);
});

test("the Worker reaches its database through the bridge", async () => {
  const response = await fetch(`${gateway.url}/sql`);
  expect(await response.json()).toEqual({ users: 0 });
});

test("a bucket can be looked into and emptied from outside", async () => {
  await ask(gateway);
  const bucket = await gateway.bucket(1);
  expect((await bucket.list()).objects.map(({ key }) => key)).toContain("key");
  await bucket.delete("key");
  expect((await bucket.list()).objects.map(({ key }) => key)).not.toContain("key");
  expect((await (await gateway.bucket(2)).list()).objects).toEqual([]);
});

test("a restart keeps address and storage, forgets memory, and takes new bindings", async () => {
  const before = await ask(gateway);
  const { url } = gateway;
  await gateway.restart({ EXTRA: "1" });
  const after = await ask(gateway);
  expect(gateway.url).toBe(url);
  expect(after).toMatchObject({ requests: 1, count: before.count + 1 });
  expect(after.bindings).toContain("EXTRA");
});

test("an evicted object goes on from its storage", async () => {
  const before = await ask(gateway);
  await gateway.evict("StreamSession", "one");
  expect(await ask(gateway)).toMatchObject({ count: before.count + 1 });
});

test("the scheduled handler runs when asked", async () => {
  await gateway.dispatchScheduled();
  expect(await (await gateway.bucket(1)).get("scheduled").then((object) => object?.text())).toBe("yes");
});

test("a busy port is an error that names the port and the option", async () => {
  const other = createServer().listen(0, "127.0.0.1");
  await once(other, "listening");
  const { port } = other.address() as { port: number };
  const start = startGateway({ directory, bindings, entry, port });
  await expect(start).rejects.toThrow(new RegExp(`Port ${port} is in use.*--port`));
  other.close();
});
