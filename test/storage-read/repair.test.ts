import { afterEach, expect, test } from "vitest";
import { ChunkCache } from "../../catalog/chunk-cache.ts";
import { locateObject, refreshChunk } from "../../catalog/locate.ts";
import { queueRepair, repairCatalog } from "../../catalog/repair.ts";
import { numberOf, statement, textOf } from "../../catalog/sql.ts";
import type { LocatedItem } from "../../core/erasure/location.ts";
import type { SqlRow } from "../../core/ports.ts";
import { ByteBudget } from "../../storage/byte-budget.ts";
import { ConnectionGate } from "../../storage/connections.ts";
import type { StorageNode } from "../../storage/nodes.ts";
import { readObject } from "../../storage/object-reader.ts";
import { drainRepairs, type RepairDeps, type RepairReport } from "../../storage/repair.ts";
import { scrubChunks } from "../../storage/scrub.ts";
import { shardKey } from "../../storage/shard-key.ts";
import { createDatabase, type TestDatabase } from "../support/database.ts";
import { CrashError, type Fault } from "../support/faults.ts";
import { type Seeded, seedCatalog, storeObjects } from "./catalog.ts";
import { Cluster, kernels, nodeId, packItems } from "./cluster.ts";

interface Stage {
  readonly cluster: Cluster;
  readonly database: TestDatabase;
  readonly seeded: Seeded;
  readonly items: readonly LocatedItem[];
  readonly contents: readonly Uint8Array[];
  readonly objectIds: readonly string[];
  /** As a fresh process, behind the fault harness. */
  deps(nodes?: ReadonlyMap<string, StorageNode>): RepairDeps;
}

const stages: Stage[] = [];
afterEach(async () => {
  for (const { cluster, database } of stages.splice(0)) {
    expect(cluster.harness.violations).toEqual([]);
    await database.close();
  }
});

async function stage(sizes: readonly number[], chunkBytes: number, nodes = 6): Promise<Stage> {
  const cluster = new Cluster({ nodes });
  const database = await createDatabase();
  const seeded = await seedCatalog(database.sql, cluster);
  const { items, contents } = packItems(cluster, sizes, chunkBytes);
  const objectIds = await storeObjects(database.sql, seeded, items);
  const sql = cluster.harness.wrapSql(database.sql);
  const made: Stage = {
    cluster,
    database,
    seeded,
    items,
    contents,
    objectIds,
    deps: (bound = cluster.nodes) => ({
      nodes: bound,
      kernels,
      budget: new ByteBudget(16 << 20),
      connections: new ConnectionGate(),
      repairs: repairCatalog(sql),
    }),
  };
  stages.push(made);
  return made;
}

async function scrubAll(deps: RepairDeps, depth: "size" | "hash"): Promise<number> {
  let damaged = 0;
  let afterChunkId: string | undefined;
  do {
    const report = await scrubChunks(deps, {
      limit: 64,
      depth,
      ...(afterChunkId !== undefined && { afterChunkId }),
    });
    damaged += report.damaged;
    afterChunkId = report.nextChunkId ?? undefined;
  } while (afterChunkId !== undefined);
  return damaged;
}

async function drainAll(deps: RepairDeps): Promise<RepairReport[]> {
  const reports: RepairReport[] = [];
  for (;;) {
    const report = await drainRepairs(deps, { maxShards: 100 });
    reports.push(report);
    if (report.repaired + report.acquitted + report.failed === 0) return reports;
  }
}

/** Every shard that the catalog names lies whole on its node, and nothing waits. */
async function expectWhole({ cluster, database }: Stage): Promise<void> {
  const rows = await database.sql.query(
    statement`SELECT *, (SELECT count(*) FROM repair_queue) AS waiting FROM shards`,
  );
  for (const row of rows) {
    const key = shardKey(textOf(row, "chunk_id"), numberOf(row, "shard_index"), numberOf(row, "generation"));
    const number = Number(textOf(row, "node_id").slice(-2));
    const bytes = cluster.stores[number - 1]?.shards.get(key);
    if (bytes === undefined) throw new Error(`${key} is not on node-${number}`);
    expect(Buffer.compare(kernels.blake3.hash(bytes), row["hash"] as Uint8Array), key).toBe(0);
    expect(row).toMatchObject({ stored: true, waiting: 0n });
  }
}

/** Keys on the nodes that neither a shard nor a retired shard accounts for. */
async function orphans({ cluster, database }: Stage): Promise<string[]> {
  const rows = await database.sql.query(statement`
    SELECT chunk_id, shard_index, generation, node_id FROM shards
    UNION ALL SELECT chunk_id, shard_index, generation, node_id FROM retired_shards`);
  const nameOf = (row: SqlRow): string =>
    `${textOf(row, "node_id")} ${shardKey(textOf(row, "chunk_id"), numberOf(row, "shard_index"), numberOf(row, "generation"))}`;
  const known = new Set(rows.map(nameOf));
  return cluster.stores.flatMap(({ shards }, i) =>
    [...shards.keys()].map((key) => `${nodeId(i + 1)} ${key}`).filter((name) => !known.has(name)),
  );
}

async function makeDue({ database }: Stage): Promise<void> {
  await database.sql.query(statement`UPDATE repair_queue SET not_before = now()`);
}

test("a wiped node of 1,000 objects is healed though repair is killed half-way, under readers who see no error", async () => {
  const made = await stage(
    Array<number>(1_000)
      .fill(0)
      .map((_, i) => 200 + (i % 50) * 20),
    4_096,
  );
  const { cluster, database, objectIds, contents } = made;
  cluster.wipe(3);
  const damaged = await scrubAll(made.deps(), "size");
  expect(damaged).toBe(
    new Set(made.items.flatMap(({ extents }) => extents.map(({ chunk }) => chunk.id))).size,
  );

  const cache = new ChunkCache({ now: () => 0 });
  const readAll = async (): Promise<void> => {
    for (const [i, id] of objectIds.entries()) {
      if (i % 25 !== 0) continue;
      const object = await locateObject(database.sql, id, cache);
      if (object === undefined) throw new Error("an object is gone");
      const refresh = (chunkId: string): ReturnType<typeof refreshChunk> =>
        refreshChunk(database.sql, chunkId, cache);
      const body = readObject(cluster.deps({ refreshChunk: refresh }), object);
      expect(
        Buffer.compare(new Uint8Array(await new Response(body).arrayBuffer()), contents[i] as Uint8Array),
      ).toBe(0);
    }
  };
  await readAll();
  cluster.harness.plan = ({ number }) => (number >= half ? "crash" : undefined);
  const half = cluster.harness.calls.length + 1_000;
  await expect(drainAll(made.deps())).rejects.toBeInstanceOf(CrashError);
  cluster.harness.revive();
  await readAll();

  // The leases of the dead worker end.
  await makeDue(made);
  const reports = await drainAll(made.deps());
  expect(reports.at(-1)).toMatchObject({ repaired: 0, failed: 0, remaining: 0 });
  await expectWhole(made);
  expect(await orphans(made)).toEqual([]);
  await readAll();
  expect(await scrubAll(made.deps(), "hash")).toBe(0);
});

test("repair may die before or after any of its calls, and the next run makes everything whole", async () => {
  const made = await stage([5_000], 8_192);
  const { cluster } = made;
  for (const fault of ["crash", "crash-after", "lose-answer", "fail"] as const satisfies readonly Fault[]) {
    let hit = true;
    for (let at = 1; hit; at++) {
      const { items } = packItems(cluster, [5_000], 8_192);
      await storeObjects(made.database.sql, made.seeded, items);
      const chunk = items[0]?.extents[0]?.chunk;
      if (chunk === undefined) throw new Error("no chunk");
      cluster.replaceShard(chunk, 0, undefined);
      cluster.shard(chunk, 4).fill(1);
      await queueRepair(made.database.sql, [
        { chunkId: chunk.id, shardIndex: 0, generation: 0, reason: "missing" },
        { chunkId: chunk.id, shardIndex: 4, generation: 0, reason: "corrupt" },
      ]);
      const start = cluster.harness.calls.length;
      hit = false;
      cluster.harness.plan = ({ number }) => {
        if (number !== start + at) return undefined;
        hit = true;
        return fault;
      };
      await drainRepairs(made.deps(), { maxShards: 10 }).catch((error: unknown) => {
        if (!(error instanceof Error) || !/crashed|did not answer/.test(error.message)) throw error;
      });
      cluster.harness.revive();
      for (let run = 0; run < 3; run++) {
        await makeDue(made);
        await drainRepairs(made.deps(), { maxShards: 10 });
      }
      await expectWhole(made);
      expect(await orphans(made), `${fault} at ${at}`).toEqual([]);
    }
  }
});

test("two workers at once repair each shard once", async () => {
  const made = await stage(Array<number>(40).fill(4_096), 4_096);
  made.cluster.wipe(2);
  await scrubAll(made.deps(), "size");
  const reports = (await Promise.all([drainAll(made.deps()), drainAll(made.deps())])).flat();
  expect(reports.reduce((sum, { repaired }) => sum + repaired, 0)).toBe(40);
  expect(reports.reduce((sum, { failed }) => sum + failed, 0)).toBe(0);
  await expectWhole(made);
});

test("two workers on one shard: one of them commits", async () => {
  const made = await stage([4_096], 4_096);
  const chunk = made.items[0]?.extents[0]?.chunk;
  if (chunk === undefined) throw new Error("no chunk");
  made.cluster.wipe(2);
  await scrubAll(made.deps(), "size");
  const repairs = repairCatalog(made.database.sql);
  const shard = { chunkId: chunk.id, shardIndex: 1, fromGeneration: 0, nodeId: nodeId(2) };
  const moves = [await repairs.begin(shard), await repairs.begin(shard)] as const;
  expect(moves.map(({ toGeneration }) => toGeneration)).toEqual([1, 2]);
  const outcomes = await Promise.all(moves.map((move) => repairs.commit(move)));
  expect(outcomes.filter(Boolean)).toHaveLength(1);
  expect(await repairs.commit(moves[0])).toBe(false);
  expect(await repairs.commit(moves[1])).toBe(false);
  const retired = await made.database.sql.query(
    statement`SELECT generation FROM retired_shards ORDER BY generation`,
  );
  expect(retired.map((row) => row["generation"])).toEqual(outcomes[0] ? [0, 2] : [0, 1]);
});

test("a report says which copies were written, where, and with what hash", async () => {
  const made = await stage([4_096], 4_096);
  const chunk = made.items[0]?.extents[0]?.chunk;
  if (chunk === undefined) throw new Error("no chunk");
  made.cluster.wipe(6);
  await scrubAll(made.deps(), "size");
  const { shards, ...counts } = await drainRepairs(made.deps(), { maxShards: 10 });
  expect(counts).toEqual({ repaired: 1, acquitted: 0, failed: 0, remaining: 0, failures: [] });
  const hash = chunk.shards[5]?.hash;
  expect(shards).toEqual([{ chunkId: chunk.id, shardIndex: 5, generation: 1, node: "node-6", hash }]);
});

test("what a false report named is found whole and stays as it is", async () => {
  const made = await stage([4_096], 4_096);
  const chunkId = made.items[0]?.extents[0]?.chunk.id as string;
  await queueRepair(made.database.sql, [{ chunkId, shardIndex: 2, generation: 0, reason: "corrupt" }]);
  expect(await drainRepairs(made.deps(), { maxShards: 10 })).toMatchObject({
    repaired: 0,
    acquitted: 1,
    remaining: 0,
  });
  await expectWhole(made);
  expect(await made.database.sql.query(statement`SELECT 1 FROM retired_shards`)).toEqual([]);
});

test("reports are queued once, marked in the catalog, and void for a copy that was replaced or a chunk that is not live", async () => {
  const made = await stage([4_096, 4_096], 4_096);
  const { sql } = made.database;
  const [live, condemned] = made.items.map(({ extents }) => extents[0]?.chunk.id as string) as [
    string,
    string,
  ];
  await sql.query(
    statement`UPDATE chunks SET state = 'condemned', condemned_at = now() WHERE id = ${condemned}`,
  );
  const report = { chunkId: live, shardIndex: 1, generation: 0, reason: "missing" } as const;
  await queueRepair(sql, [report]);
  await queueRepair(sql, [report], "scrub");
  await queueRepair(sql, [
    { ...report, shardIndex: 2, generation: 5 },
    { ...report, chunkId: condemned },
  ]);
  await queueRepair(sql, []);
  const queued = await sql.query(
    statement`SELECT chunk_id, shard_index, priority, reason, attempts FROM repair_queue`,
  );
  expect(queued).toEqual([{ chunk_id: live, shard_index: 1, priority: 1, reason: "missing", attempts: 0 }]);
  const lost = await sql.query(statement`SELECT chunk_id, shard_index FROM shards WHERE NOT stored`);
  expect(lost).toEqual([{ chunk_id: live, shard_index: 1 }]);
});

test("degraded writes go first, then what reads met, then what a scrub found", async () => {
  const made = await stage(Array<number>(3).fill(4_096), 4_096);
  const { sql } = made.database;
  const [scrubbed, met, degraded] = made.items.map(({ extents }) => extents[0]?.chunk.id as string) as [
    string,
    string,
    string,
  ];
  await queueRepair(sql, [{ chunkId: scrubbed, shardIndex: 0, generation: 0, reason: "missing" }], "scrub");
  await queueRepair(sql, [{ chunkId: met, shardIndex: 0, generation: 0, reason: "missing" }]);
  await sql.query(
    statement`INSERT INTO repair_queue (chunk_id, shard_index, priority, reason) VALUES (${degraded}, 0, 0, 'degraded_write')`,
  );
  const repairs = repairCatalog(sql);
  for (const expected of [degraded, met, scrubbed]) {
    expect((await repairs.lease(1, 60_000)).map(({ chunk }) => chunk.id)).toEqual([expected]);
  }
  expect(await repairs.lease(1, 60_000)).toEqual([]);
  expect(await repairs.countWaiting()).toBe(3);
});

test("a draining node's shard moves to the node that holds none of the chunk; without one it waits, longer each time", async () => {
  const made = await stage([4_096], 4_096, 7);
  const { cluster, database } = made;
  const chunkId = made.items[0]?.extents[0]?.chunk.id as string;
  cluster.wipe(1);
  await scrubAll(made.deps(), "size");
  const draining = (ids: readonly string[]): ReadonlyMap<string, StorageNode> =>
    new Map(
      [...cluster.nodes].map(([id, node]) => [id, ids.includes(id) ? { ...node, state: "draining" } : node]),
    );

  const nowhere = draining([nodeId(1), nodeId(7)]);
  const waits: number[] = [];
  for (let attempt = 0; attempt < 3; attempt++) {
    const report = await drainRepairs(made.deps(nowhere), { maxShards: 10 });
    expect(report).toMatchObject({ repaired: 0, failed: 1, remaining: 1 });
    expect(report.failures[0]).toContain(chunkId);
    expect(await drainRepairs(made.deps(nowhere), { maxShards: 10 })).toMatchObject({
      failed: 0,
      remaining: 1,
    });
    const [row] = await database.sql.query(
      statement`SELECT extract(epoch FROM not_before - now())::integer AS seconds FROM repair_queue`,
    );
    waits.push(row?.["seconds"] as number);
    await makeDue(made);
  }
  expect(waits.map((seconds) => Math.round(seconds / 10))).toEqual([3, 6, 12]);

  const report = await drainRepairs(made.deps(draining([nodeId(1)])), { maxShards: 10 });
  expect(report.shards).toMatchObject([{ chunkId, shardIndex: 0, node: "node-7" }]);
  await expectWhole(made);
});

test("a source that lies is found by its hash, left out and queued", async () => {
  const made = await stage([4_096], 4_096);
  const { cluster } = made;
  const chunk = made.items[0]?.extents[0]?.chunk;
  if (chunk === undefined) throw new Error("no chunk");
  cluster.wipe(6);
  await scrubAll(made.deps(), "size");
  cluster.shard(chunk, 0).fill(9);
  const first = await drainRepairs(made.deps(), { maxShards: 10 });
  expect(first).toMatchObject({ repaired: 1, remaining: 1 });
  expect(await drainRepairs(made.deps(), { maxShards: 10 })).toMatchObject({ repaired: 1, remaining: 0 });
  await expectWhole(made);
});

test("a chunk that lost more than m shards stays in the queue and is named, others are repaired", async () => {
  const made = await stage([4_096, 4_096], 4_096);
  const [lost, fine] = made.items.map(({ extents }) => extents[0]?.chunk);
  if (lost === undefined || fine === undefined) throw new Error("no chunks");
  for (const index of [0, 1, 2]) made.cluster.replaceShard(lost, index, undefined);
  made.cluster.replaceShard(fine, 3, undefined);
  await scrubAll(made.deps(), "size");
  const report = await drainRepairs(made.deps(), { maxShards: 10 });
  expect(report).toMatchObject({ repaired: 1, failed: 3, remaining: 3 });
  expect(report.failures).toHaveLength(1);
  expect(report.failures[0]).toContain(lost.id);
});

test("a scrub by hash finds what one by size cannot, and blames no silent node", async () => {
  const made = await stage([4_096], 4_096);
  const { cluster } = made;
  const chunk = made.items[0]?.extents[0]?.chunk;
  if (chunk === undefined) throw new Error("no chunk");
  cluster.shard(chunk, 3)[10] = 0;
  cluster.shard(chunk, 3)[11] = 0;
  cluster.replaceShard(chunk, 5, cluster.shard(chunk, 5).subarray(1));
  cluster.harness.plan = ({ backend }) => (backend === "node-1" ? "fail" : undefined);
  expect(await scrubChunks(made.deps(), { limit: 10, depth: "size" })).toMatchObject({
    chunks: 1,
    shards: 6,
    damaged: 1,
    unanswered: 1,
    nextChunkId: null,
  });
  expect(await scrubChunks(made.deps(), { limit: 10, depth: "hash" })).toMatchObject({
    shards: 5,
    damaged: 1,
    unanswered: 1,
  });
});
