import { afterAll, describe, expect, test } from "vitest";
import { listObjects } from "../../catalog/objects.ts";
import { DataStreamError } from "../../core/errors.ts";
import type { ShardStore } from "../../core/ports.ts";
import { collectAll, createBench, expectNoOrphans, patterned, readBack, upload } from "./fixture.ts";

const bench = await createBench({ chunkBytes: 4096 });
afterAll(() => bench.close());

const failing = (store: ShardStore): ShardStore => ({
  ...store,
  put: () => Promise.reject(new DataStreamError("unavailable", "down")),
  size: () => Promise.reject(new DataStreamError("unavailable", "down")),
});
const bytes = patterned(10_000);

async function queue(): Promise<unknown[]> {
  return [
    ...(await bench.sql.query({
      text: `select q.shard_index, q.priority, q.reason, s.stored, s.hash is not null as hashed, n.name
        from repair_queue q join shards s using (chunk_id, shard_index) join storage_nodes n on n.id = s.node_id`,
      values: [],
    })),
  ];
}

describe("4+2 shards on six nodes", () => {
  test("one node down: acknowledged, and queued for repair in the same transaction", async () => {
    const deps = bench.deps({ wrap: (store, i) => (i === 3 ? failing(store) : store) });
    const result = await upload(bench, deps, { kind: "object", key: "one-down" }, [bytes]);
    expect(result).toMatchObject({ chunks: 3, degraded_chunks: 3 });
    const waiting = { name: "node-4", priority: 0, reason: "degraded_write", stored: false, hashed: true };
    expect(await queue()).toEqual(Array.from({ length: 3 }, () => expect.objectContaining(waiting)));
    expect(await readBack(bench, "one-down")).toEqual(bytes);
  });

  test("two nodes down: refused naming them, nothing visible", async () => {
    const deps = bench.deps({ wrap: (store, i) => (i === 1 || i === 4 ? failing(store) : store) });
    const error: unknown = await upload(bench, deps, { kind: "object", key: "two-down" }, [bytes]).catch(
      (e: unknown) => e,
    );
    expect(error).toMatchObject({ code: "unavailable", details: { needed: 5, stored: 4 } });
    expect(new Set((error as DataStreamError).details["nodes"] as string[])).toEqual(
      new Set(["node-2", "node-5"]),
    );
    expect(await readBack(bench, "two-down")).toBeUndefined();
    expect(deps.budget.usedBytes).toBe(0);
  });

  test("a draining node gets no shard", async () => {
    const held = (): number => bench.stores[0]?.shards.size ?? 0;
    const keys = held();
    const result = await upload(bench, bench.deps({ draining: [0] }), { kind: "object", key: "draining" }, [
      bytes,
    ]);
    expect(result).toMatchObject({ degraded_chunks: 3 });
    expect(held()).toBe(keys);
    expect(await readBack(bench, "draining")).toEqual(bytes);
  });

  test("two draining nodes leave too few: refused before a byte is read", async () => {
    const deps = bench.deps({ draining: [0, 5] });
    await expect(upload(bench, deps, { kind: "object", key: "k" }, [bytes])).rejects.toMatchObject({
      code: "unavailable",
      details: { needed: 5, available: 4 },
    });
    expect(deps.connections.calls).toBe(0);
  });
});

describe("a put", () => {
  const once = (
    store: ShardStore,
    before: (key: string, put: () => Promise<unknown>) => Promise<void>,
  ): ShardStore => {
    const seen = new Set<string>();
    return {
      ...store,
      size: (key) => store.size(key),
      async put(key, shard) {
        if (!seen.has(key)) {
          seen.add(key);
          await before(key, () => store.put(key, shard));
        }
        return store.put(key, shard);
      },
    };
  };
  const down = new DataStreamError("unavailable", "no answer");

  test("that failed is tried once more", async () => {
    const deps = bench.deps({ wrap: (store) => once(store, () => Promise.reject(down)) });
    expect(await upload(bench, deps, { kind: "object", key: "again" }, [bytes])).toMatchObject({
      degraded_chunks: 0,
    });
    expect(await readBack(bench, "again")).toEqual(bytes);
  });

  test("whose answer was lost is recognised by its size", async () => {
    const lost = async (_: string, put: () => Promise<unknown>): Promise<never> => {
      await put();
      throw down;
    };
    const deps = bench.deps({ wrap: (store) => once(store, lost) });
    expect(await upload(bench, deps, { kind: "object", key: "lost" }, [bytes])).toMatchObject({
      degraded_chunks: 0,
    });
    expect(await readBack(bench, "lost")).toEqual(bytes);
  });

  test("that finds another shard under its fresh key counts as failed", async () => {
    const taken = (store: ShardStore): ShardStore => ({ ...store, put: async () => "exists" });
    const deps = bench.deps({ wrap: (store, i) => (i === 2 ? taken(store) : store) });
    expect(await upload(bench, deps, { kind: "object", key: "taken" }, [bytes])).toMatchObject({
      degraded_chunks: 3,
    });
    expect(await readBack(bench, "taken")).toEqual(bytes);
  });

  test("uses at most six connections", async () => {
    const deps = bench.deps();
    await upload(bench, deps, { kind: "object", key: "six" }, [bytes]);
    expect(deps.connections.peak).toBe(6);
    expect(deps.connections.calls).toBe(18);
  });
});

test("what the refused uploads stored is collected", async () => {
  await collectAll(bench);
  await expectNoOrphans(bench);
  expect(
    (await listObjects(bench.sql, { bucketId: bench.bucketId, limit: 10 })).objects.map(({ key }) => key),
  ).toEqual(["again", "draining", "lost", "one-down", "six", "taken"]);
});
