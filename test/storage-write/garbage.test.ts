import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { dropObjects, findLiveObject } from "../../catalog/objects.ts";
import { DataStreamError } from "../../core/errors.ts";
import type { ShardStore } from "../../core/ports.ts";
import { collectGarbage, type GarbageReport } from "../../storage/collect-garbage.ts";
import { putObject } from "../../storage/uploads/put-object.ts";
import { createUpload } from "../../storage/uploads/sessions.ts";
import {
  type Bench,
  collectAll,
  createBench,
  expectNoOrphans,
  GRACE,
  HOUR,
  orphans,
  patterned,
  putWhole,
  readBack,
  upload,
} from "./fixture.ts";

let bench: Bench;
beforeAll(async () => void (bench = await createBench({ chunkBytes: 4096 })));
afterAll(() => bench.close());

const collect = (
  options: { wrap?: (store: ShardStore, i: number) => ShardStore; limit?: number } = {},
): Promise<GarbageReport> => {
  const { limit = 500, ...overrides } = options;
  return collectGarbage(bench.deps(overrides), { now: bench.clock.time, graceMs: GRACE, limit });
};
const put = (key: string, size = 100): Promise<unknown> =>
  upload(bench, bench.deps(), { kind: "object", key }, [patterned(size)]);
const drop = (...keys: string[]): Promise<number> => dropObjects(bench.sql, bench.bucketId, keys);
const states = async (): Promise<Record<string, number>> =>
  Object.fromEntries(
    (
      await bench.sql.query({
        text: "select state, count(*)::integer as n from chunks group by state",
        values: [],
      })
    ).map(({ state, n }) => [state as string, n as number]),
  );

test("a chunk goes live, condemned, deleted, forgotten, a grace apart", async () => {
  await put("a");
  await drop("a");
  expect(await collect()).toMatchObject({
    deletedObjects: 1,
    condemnedChunks: 1,
    deletedChunks: 0,
    deletedShards: 0,
  });
  expect(await states()).toEqual({ condemned: 1 });
  expect((await orphans(bench, ["condemned"])).length).toBe(0);

  bench.clock.time += GRACE;
  expect(await collect()).toMatchObject({ condemnedChunks: 0, deletedChunks: 0 });
  bench.clock.time += 1;
  expect(await collect()).toMatchObject({ deletedChunks: 1, deletedShards: 6, failedNodes: [] });
  expect(await states()).toEqual({ deleted: 1 });
  expect(bench.stores.map(({ shards }) => shards.size)).toEqual([0, 0, 0, 0, 0, 0]);

  bench.clock.time += GRACE;
  expect((await collect()).prunedRows).toBeGreaterThanOrEqual(1);
  expect(await states()).toEqual({});
});

test("a node that does not confirm keeps its chunks condemned until it does", async () => {
  await put("b", 9000);
  await drop("b");
  await collect();
  bench.clock.time += GRACE + 1;
  const down = (store: ShardStore, i: number): ShardStore =>
    i === 2 ? { ...store, delete: () => Promise.reject(new DataStreamError("unavailable", "down")) } : store;
  expect(await collect({ wrap: down })).toMatchObject({
    deletedChunks: 0,
    deletedShards: 15,
    failedNodes: ["node-3"],
  });
  expect(await states()).toEqual({ condemned: 3 });
  expect(await collect()).toMatchObject({ deletedChunks: 3, failedNodes: [] });
  await collectAll(bench);
});

test("an upload that nothing touches ends with its lease, and its parts are collected", async () => {
  const deps = bench.deps();
  const { id } = await createUpload(deps, { bucketId: bench.bucketId, kind: "object", key: "c" });
  bench.clock.time += 23 * HOUR;
  await putWhole(bench, deps, id, 1, patterned(100));
  bench.clock.time += 23 * HOUR;
  expect(await collect()).toMatchObject({ abortedUploads: 0 });
  bench.clock.time += 2 * HOUR;
  expect(await collect()).toMatchObject({ abortedUploads: 1, deletedObjects: 1, condemnedChunks: 1 });
  await expect(putWhole(bench, deps, id, 2, patterned(1))).rejects.toMatchObject({
    code: "failed_precondition",
  });
  await collectAll(bench);
  await expectNoOrphans(bench);
});

test("each step is bounded, and the report tells that there is more", async () => {
  for (let i = 0; i < 5; i++) await put(`d${i}`);
  await drop("d0", "d1", "d2", "d3", "d4");
  expect(await collect({ limit: 2 })).toMatchObject({ deletedObjects: 2, condemnedChunks: 2, hasMore: true });
  expect(await collect({ limit: 2 })).toMatchObject({ deletedObjects: 2, condemnedChunks: 2, hasMore: true });
  expect(await collect({ limit: 2 })).toMatchObject({
    deletedObjects: 1,
    condemnedChunks: 1,
    hasMore: false,
  });
  await collectAll(bench);
  await expectNoOrphans(bench);
});

test("shards that a repair replaced go after the grace", async () => {
  await put("e");
  const [shard] = await bench.sql.query({
    text: "select chunk_id, node_id from shards where shard_index = 0",
    values: [],
  });
  const { chunk_id: chunkId, node_id: nodeId } = shard as { chunk_id: string; node_id: string };
  const store = bench.stores[bench.nodeIds.indexOf(nodeId)]?.shards as Map<string, Uint8Array<ArrayBuffer>>;
  store.set(`${chunkId}/0.1`, store.get(`${chunkId}/0.0`) as Uint8Array<ArrayBuffer>);
  await bench.sql.transaction([
    { text: "update shards set generation = 1 where chunk_id = $1 and shard_index = 0", values: [chunkId] },
    {
      text: "insert into retired_shards values ($1, 0, 0, $2, $3)",
      values: [chunkId, nodeId, new Date(bench.clock.time).toISOString()],
    },
  ]);
  bench.clock.time += GRACE;
  expect(await collect()).toMatchObject({ deletedShards: 0 });
  bench.clock.time += 1;
  expect(await collect()).toMatchObject({ deletedShards: 1, deletedChunks: 0 });
  expect(await orphans(bench)).toEqual([]);
  expect(await readBack(bench, "e")).toEqual(patterned(100));
  expect(await bench.sql.query({ text: "select from retired_shards", values: [] })).toEqual([]);
});

describe("a dropped object that a dataset uses", () => {
  const references: [string, string][] = [
    [
      "file",
      "insert into dataset_files select d.id, 0, $1, 'p', decode(repeat('00', 32), 'hex'), 1 from datasets d",
    ],
    ["manifest", "update datasets set manifest_object_id = $1"],
    ["tree", "update datasets set tree_object_id = $1"],
  ];
  test.each(references)("as a %s stays until the dataset is gone", async (role, text) => {
    const { objectId } = await putObject(bench.deps(), {
      bucketId: bench.bucketId,
      key: role,
      bytes: patterned(50),
    });
    await bench.sql.query({
      text: "insert into datasets (owner_id, name, schema) values ($1, 'd', '{}')",
      values: [bench.ownerId],
    });
    await bench.sql.query({ text, values: [objectId] });
    await drop(role);
    expect(await findLiveObject(bench.sql, bench.bucketId, role)).toBeUndefined();
    expect(await collect()).toMatchObject({ deletedObjects: 0, condemnedChunks: 0 });
    await bench.sql.query({ text: "delete from datasets", values: [] });
    expect(await collect()).toMatchObject({ deletedObjects: 1, condemnedChunks: 1 });
  });
});
