/** Trainers that die or hold everything, and memory that is not to be had: nobody else notices, and nothing is left. */
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { Streams } from "../../../companion/service/streams.ts";
import { HandoffServer } from "../../../companion/handoff/server.ts";
import { HandoffSession } from "../../../companion/handoff/session.ts";
import { Gateways } from "../../../companion/service/gateways.ts";
import { Metrics } from "../../../companion/service/metrics.ts";
import { loadConfiguration } from "../../../companion/service/configuration.ts";
import { sharedBackend } from "../../../companion/device/shared.ts";
import { WorkerPool } from "../../../companion/workers/pool.ts";
import { DataStreamError } from "../../../core/errors.ts";
import { createLog } from "../../../core/log.ts";
import { HandoffClient } from "../service/handoff-client.ts";
import { Child } from "./child.ts";
import { startDoubleCompanion, type DoubleCompanion } from "./double-companion.ts";

let companion: DoubleCompanion;
afterEach(() => companion.close());

const TRAINER = join(import.meta.dirname, "trainer.worker.ts");
const rings = (): string[] =>
  readdirSync("/dev/shm").filter((name) => name.startsWith("cyxcloud-") && name.includes(`-${process.pid}-`));

test("a trainer that is killed frees its slots, and the next has them", async () => {
  companion = await startDoubleCompanion();
  const trainer = Child.start(TRAINER, [
    companion.socket,
    JSON.stringify(companion.request({ slots: 3 })),
    "hold",
  ]);
  await trainer.line(/batch 2/);
  expect(await companion.metric("slots_held")).toBe(3);
  expect(await trainer.end("SIGKILL")).toEqual([null, "SIGKILL"]);
  await companion.companion.quiet();
  expect(await companion.metric("slots")).toBe(0);
  expect(await companion.metric("message_bytes")).toBe(0);
  expect(rings()).toEqual([]);

  const next = Child.start(TRAINER, [
    companion.socket,
    JSON.stringify(companion.request({ slots: 3 })),
    "stream",
  ]);
  await next.line(/sum \d+/);
  expect(await next.end()).toEqual([0, null]);
});

test("a trainer that is killed before it mapped the ring leaves no file", async () => {
  companion = await startDoubleCompanion();
  const client = await companion.connect();
  client.send({ type: "open", ...companion.request() });
  const { ring } = await client.expect("opened");
  expect(existsSync(ring?.path as string)).toBe(true);
  client.kill();
  await companion.companion.quiet();
  expect(existsSync(ring?.path as string)).toBe(false);
});

test("a trainer that holds every slot stops its own stream alone, until it lets one go", async () => {
  companion = await startDoubleCompanion();
  const holder = await companion.connect();
  await holder.open(companion.request({ slots: 3 }));
  const held = [await holder.expect("batch"), await holder.expect("batch"), await holder.expect("batch")];
  expect(await companion.metric("all_slots_held_total")).toBe(1);

  const other = await companion.connect();
  await other.open(companion.request());
  let count = 0;
  for await (const batch of other.batches()) count += batch.count;
  expect(count).toBe(40);
  other.kill();

  const before = held.map((batch) => holder.read(batch, "data"));
  holder.release(held[1] as (typeof held)[number]);
  const next = await holder.expect("batch");
  expect(next).toMatchObject({ index: 3, slot: held[1]?.slot });
  for (const i of [0, 2]) expect(holder.read(held[i] as (typeof held)[number], "data")).toEqual(before[i]);
  for (const batch of [held[0], held[2], next]) holder.release(batch as (typeof held)[number]);
  const rest: number[] = [];
  for await (const batch of holder.batches()) rest.push(batch.index);
  expect(rest).toEqual([4, 5, 6, 7, 8, 9]);
  holder.kill();
});

test("shared memory that is too small is told with what to do, and nothing is left", async () => {
  companion = await startDoubleCompanion();
  const full = new DataStreamError(
    "resource_exhausted",
    "3 slots need 12 KiB in /dev/shm, where 0 B are free.",
  );
  const backend = { ...sharedBackend("shm"), createRing: () => Promise.reject(full) };
  const { values: configuration } = loadConfiguration({
    flags: { gateway: companion.gateway, pins: join(companion.folder, "pins.json") },
    environment: {},
    file: undefined,
  });
  const workers = new WorkerPool(1);
  const streams = new Streams({
    configuration,
    version: "test",
    backends: { probed: [], choose: () => Promise.resolve({ backend, reason: "of the test" }) },
    workers,
    gateways: new Gateways(configuration),
    cache: undefined,
    metrics: new Metrics({
      messageBytes: () => 0,
      slots: () => ({ held: 0, all: 0 }),
      draining: () => false,
    }),
    log: createLog(() => undefined),
  });
  const server = await HandoffServer.listen(
    join(companion.folder, "full.sock"),
    (connection) => new HandoffSession(connection, streams),
  );
  const client = await HandoffClient.connect(server.path);
  client.send({ type: "open", ...companion.request() });
  expect(await client.expect("error")).toMatchObject({ code: "resource_exhausted", message: full.message });
  await client.closed();
  expect([streams.count, streams.messageBytes]).toEqual([0, 0]);
  await server.close();
  await workers.close();
});
