/** The scheduled search for damage: bounded runs, a position that outlives them, passes that begin when they are due. */
import { afterEach, beforeEach, expect, test } from "vitest";
import { repairCatalog } from "../../catalog/repair.ts";
import type { ScrubSchedule } from "../../core/limits.ts";
import { scrubOnSchedule, type ScrubRun } from "../../functions/scrub.ts";
import { ByteBudget } from "../../storage/byte-budget.ts";
import { ConnectionGate } from "../../storage/connections.ts";
import type { RepairDeps } from "../../storage/repair.ts";
import { createDatabase, type TestDatabase } from "../support/database.ts";
import { seedCatalog, storeObjects } from "./catalog.ts";
import { Cluster, kernels, packItems } from "./cluster.ts";

const CHUNKS = 11;
const CHUNK_BYTES = 4_096;
const HOUR = 3_600_000;
const SCHEDULE: ScrubSchedule = { chunksPerRun: 4, chunksPerStep: 3, passMs: 24 * HOUR };

let cluster: Cluster;
let database: TestDatabase;
const clock = { time: 0, tick: 0, now: (): number => (clock.time += clock.tick) };
beforeEach(async () => {
  Object.assign(clock, { time: Date.UTC(2026, 10, 22), tick: 0 });
  cluster = new Cluster({ nodes: 6 });
  database = await createDatabase();
  const seeded = await seedCatalog(database.sql, cluster);
  const { items } = packItems(cluster, Array<number>(CHUNKS).fill(CHUNK_BYTES), CHUNK_BYTES);
  await storeObjects(database.sql, seeded, items);
});
afterEach(async () => {
  expect(cluster.harness.violations).toEqual([]);
  await database.close();
});

const repairs = (): RepairDeps => ({
  nodes: cluster.nodes,
  kernels,
  budget: new ByteBudget(16 << 20),
  connections: new ConnectionGate(),
  repairs: repairCatalog(database.sql),
});
/** A run of a process that knows nothing of the ones before. */
const run = (depth: "size" | "hash" = "size", endsAt = Number.POSITIVE_INFINITY): Promise<ScrubRun> =>
  scrubOnSchedule({ sql: database.sql, clock, repairs: repairs() }, depth, SCHEDULE, endsAt);
const queued = async (): Promise<number> =>
  (await database.sql.query({ text: "SELECT 1 AS one FROM repair_queue", values: [] })).length;

test("each run looks at so many chunks and the next goes on, until every chunk was looked at once", async () => {
  cluster.wipe(2);
  const runs = [];
  for (let i = 0; i < 3; i++) runs.push(await run());
  expect(runs).toMatchObject([
    { chunks: 4, shards: 24, damaged: 4, finished: false },
    { chunks: 4, damaged: 4, finished: false },
    { chunks: 3, damaged: 3, finished: true },
  ]);
  expect(await queued()).toBe(CHUNKS);
});

test("the next pass begins a day after the one before began, and not sooner", async () => {
  for (let i = 0; i < 3; i++) await run();
  clock.time += 24 * HOUR - 1;
  cluster.wipe(4);
  expect(await run()).toMatchObject({ chunks: 0, finished: true });
  expect(await queued()).toBe(0);
  clock.time += 1;
  expect(await run()).toMatchObject({ chunks: 4, damaged: 4, finished: false });
});

test("a pass that takes longer than a day is finished first", async () => {
  await run();
  clock.time += 48 * HOUR;
  expect(await run()).toMatchObject({ chunks: 4, finished: false });
  expect(await run()).toMatchObject({ chunks: 3, finished: true });
  expect(await run()).toMatchObject({ chunks: 4, finished: false });
});

test("no step begins after the run's time is over, and what was done is kept", async () => {
  expect(await run("size", clock.time)).toMatchObject({ chunks: 0, finished: false });
  clock.tick = 1; // a moment for each look at the clock: before the first step, after it, and before the next
  expect(await run("size", clock.time + 3)).toMatchObject({ chunks: 3, finished: false });
  expect(await run()).toMatchObject({ chunks: 4, finished: false });
  expect(await run()).toMatchObject({ chunks: 4, finished: false });
  // Whether these were the last, only asking for more tells.
  expect(await run()).toMatchObject({ chunks: 0, finished: true });
});

test("both depths have positions of their own; reading finds what lengths do not tell", async () => {
  for (let i = 0; i < 3; i++) await run();
  const [shard] = cluster.stores[3]?.shards.values() ?? [];
  (shard as Uint8Array)[0] = ((shard as Uint8Array)[0] as number) ^ 1;
  const runs = [];
  for (let i = 0; i < 3; i++) runs.push(await run("hash"));
  expect(runs.reduce((sum, { damaged }) => sum + damaged, 0)).toBe(1);
  expect(runs.at(-1)).toMatchObject({ finished: true });
  expect(await queued()).toBe(1);
});

test("of two runs at once neither goes back nor leaves chunks out", async () => {
  cluster.wipe(1);
  for (let i = 0; i < 6; i++) await Promise.all([run(), run()]);
  expect(await queued()).toBe(CHUNKS);
});
