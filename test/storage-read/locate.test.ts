import { randomUUID } from "node:crypto";
import { afterAll, expect, test } from "vitest";
import { ChunkCache } from "../../catalog/chunk-cache.ts";
import { locateItems, locateObject, refreshChunk } from "../../catalog/locate.ts";
import { statement } from "../../catalog/sql.ts";
import type { LocatedItem } from "../../core/erasure/location.ts";
import type { Sql } from "../../core/ports.ts";
import { createDatabase } from "../support/database.ts";
import { createDataset, createToken, seedCatalog, storeObjects } from "./catalog.ts";
import { Cluster, packItems } from "./cluster.ts";

const database = await createDatabase();
afterAll(() => database.close());

let queries = 0;
const sql: Sql = {
  query: (query) => {
    queries++;
    return database.sql.query(query);
  },
  transaction: (statements) => database.sql.transaction(statements),
};
let now = 0;
const clock = { now: () => now };

const cluster = new Cluster();
const seeded = await seedCatalog(sql, cluster);
// Among them items without bytes, and items that span chunks.
const sizes = [10, 0, 40_000, 3, 5_000, 5_000, 0, 16_384, 70_000, 1];
const { items } = packItems(cluster, sizes, 16_384);
const objectIds = await storeObjects(sql, seeded, items);
const datasetId = await createDataset(sql, seeded, objectIds, items);

const plain = (located: readonly LocatedItem[]): unknown =>
  located.map((item) => ({
    ...item,
    contentHash: Buffer.from(item.contentHash).toString("hex"),
    extents: item.extents.map((extent) => ({ ...extent, chunk: extent.chunk.id })),
  }));

test("a range of items comes with extents, chunks and shards, in two queries", async () => {
  queries = 0;
  const located = await locateItems(
    sql,
    { datasetId },
    { from: 0, count: sizes.length },
    new ChunkCache(clock),
  );
  expect(located.authorized).toBe(true);
  expect(plain(located.items)).toEqual(plain(items));
  expect(located.items[2]?.extents[0]?.chunk).toEqual(items[2]?.extents[0]?.chunk);
  // Chunks that several items use are one object.
  expect(located.items[0]?.extents[0]?.chunk).toBe(located.items[2]?.extents[0]?.chunk);
  expect(queries).toBe(2);
});

test("listed items come as asked for, repetitions included", async () => {
  const asked = [8, 1, 2, 8, 0, 9, 1];
  const located = await locateItems(sql, { datasetId }, asked, new ChunkCache(clock));
  expect(plain(located.items)).toEqual(plain(asked.map((index) => items[index] as LocatedItem)));
});

test("known chunks cost no second query until they expire or are refreshed", async () => {
  const cache = new ChunkCache(clock, { ttlMs: 1_000 });
  const ask = async (): Promise<number> => {
    queries = 0;
    await locateItems(sql, { datasetId }, { from: 0, count: sizes.length }, cache);
    return queries;
  };
  expect(await ask()).toBe(2);
  expect(await ask()).toBe(1);
  now += 1_001;
  expect(await ask()).toBe(2);
  expect(await ask()).toBe(1);

  const chunk = items[0]?.extents[0]?.chunk;
  if (chunk === undefined) throw new Error("no chunk");
  await sql.query(
    statement`UPDATE shards SET generation = 7 WHERE chunk_id = ${chunk.id} AND shard_index = 1`,
  );
  expect((await refreshChunk(sql, chunk.id, cache))?.shards[1]?.generation).toBe(7);
  expect(cache.get(chunk.id)?.shards[1]?.generation).toBe(7);
  await sql.query(
    statement`UPDATE shards SET generation = 0 WHERE chunk_id = ${chunk.id} AND shard_index = 1`,
  );
  expect(await refreshChunk(sql, randomUUID(), cache)).toBeUndefined();
});

test("the cache keeps what was used last", () => {
  const cache = new ChunkCache(clock, { maxChunks: 2 });
  const [a, b, c] = [...new Set(items.flatMap(({ extents }) => extents.map(({ chunk }) => chunk)))];
  if (a === undefined || b === undefined || c === undefined) throw new Error("too few chunks");
  cache.put(a);
  cache.put(b);
  cache.get(a.id);
  cache.put(c);
  expect([a, b, c].map(({ id }) => cache.get(id) !== undefined)).toEqual([true, false, true]);
});

test("access needs a ready dataset, and a token that is its own, neither revoked nor expired", async () => {
  const other = await createDataset(sql, seeded, objectIds, items);
  const building = await createDataset(sql, seeded, objectIds, items, "building");
  const valid = await createToken(sql, seeded, datasetId);
  const cases: readonly (readonly [boolean, Parameters<typeof locateItems>[1]])[] = [
    [true, { datasetId, tokenId: valid }],
    [true, { datasetId }],
    [false, { datasetId: other, tokenId: valid }],
    [false, { datasetId, tokenId: await createToken(sql, seeded, datasetId, "revoked") }],
    [false, { datasetId, tokenId: await createToken(sql, seeded, datasetId, "expired") }],
    [false, { datasetId, tokenId: randomUUID() }],
    [false, { datasetId: randomUUID() }],
    [false, { datasetId: building }],
  ];
  for (const [authorized, access] of cases) {
    for (const selection of [[3], { from: 3, count: 1 }]) {
      const located = await locateItems(sql, access, selection, new ChunkCache(clock));
      expect(located.authorized).toBe(authorized);
      expect(located.items).toHaveLength(authorized ? 1 : 0);
    }
  }
  expect((await locateItems(sql, { datasetId, tokenId: valid }, [], new ChunkCache(clock))).authorized).toBe(
    true,
  );
});

test("an index that the dataset does not have is an error, not a shorter answer", async () => {
  for (const selection of [[0, sizes.length], { from: sizes.length - 1, count: 2 }]) {
    await expect(locateItems(sql, { datasetId }, selection, new ChunkCache(clock))).rejects.toMatchObject({
      code: "internal",
    });
  }
});

test("an object comes with its layout; an unknown one does not", async () => {
  for (const [i, id] of objectIds.entries()) {
    const { size, contentHash, extents } = items[i] as LocatedItem;
    expect(await locateObject(sql, id, new ChunkCache(clock))).toMatchObject({ size, contentHash, extents });
  }
  expect(await locateObject(sql, randomUUID(), new ChunkCache(clock))).toBeUndefined();
});
