import { afterEach, expect, test } from "vitest";
import type { LocatedObject } from "../../core/erasure/location.ts";
import { readObject } from "../../storage/object-reader.ts";
import type { ReadDeps } from "../../storage/shard-reader.ts";
import { Cluster, kernels, packItems } from "./cluster.ts";

const MIB = 1 << 20;
let cluster = new Cluster();

afterEach(async () => {
  while (cluster.connections.open > 0) await new Promise((resolve) => setImmediate(resolve));
  await new Promise((resolve) => setImmediate(resolve));
  expect(cluster.harness.violations).toEqual([]);
  expect(cluster.connections.peak).toBeLessThanOrEqual(6);
  expect(cluster.budget.usedBytes).toBe(0);
});

async function read(
  object: LocatedObject,
  range?: { offset: number; length: number },
  deps: ReadDeps = cluster.deps(),
): Promise<Uint8Array> {
  const body = readObject(deps, object, range);
  return new Uint8Array(await new Response(body).arrayBuffer());
}

function objectOf(bytes: number, chunkBytes: number): { object: LocatedObject; content: Uint8Array } {
  const { items, contents } = packItems(cluster, [1_000, bytes, 500], chunkBytes);
  return { object: items[1] as LocatedObject, content: contents[1] as Uint8Array };
}

test.each([0, 1, 5_000, MIB, MIB + 1, 20 * MIB])(
  "an object of %i bytes is read whole and in ranges",
  async (size) => {
    cluster = new Cluster();
    const { object, content } = objectOf(size, 4 * MIB);
    expect(Buffer.compare(await read(object), content)).toBe(0);
    for (const [offset, length] of [
      [0, 1],
      [size - 1, 1],
      [Math.floor(size / 3), Math.floor(size / 2)],
      [0, size],
    ] as const) {
      if (offset < 0 || length < 1) continue;
      const range = await read(object, { offset, length });
      expect(Buffer.compare(range, content.subarray(offset, offset + length)), `${offset} + ${length}`).toBe(
        0,
      );
    }
  },
);

test("a range of a large object reads no more than the shards it touches", async () => {
  cluster = new Cluster();
  const { object } = objectOf(20 * MIB, 4 * MIB);
  await read(object, { offset: 10 * MIB, length: 10 });
  const bytes = cluster.harness.calls.reduce((sum, call) => sum + call.bytes, 0);
  expect(bytes).toBeLessThanOrEqual(2 * MIB);
});

test("a lying shard of a large object is rebuilt before a byte of it leaves, and reported", async () => {
  cluster = new Cluster();
  const { object, content } = objectOf(12 * MIB, 4 * MIB);
  const chunk = object.extents[1]?.chunk;
  if (chunk === undefined) throw new Error("no second chunk");
  // One lies by a bit; of another a source lies too.
  for (const index of [2, 5]) {
    const bytes = cluster.shard(chunk, index);
    bytes[77] = (bytes[77] as number) ^ 4;
  }
  expect(Buffer.compare(await read(object), content)).toBe(0);
  expect(cluster.damages).toContainEqual({
    chunkId: chunk.id,
    shardIndex: 2,
    generation: 0,
    reason: "corrupt",
  });
});

test("chunks that are whole but not those of the object end the stream with data loss", async () => {
  cluster = new Cluster();
  const { object } = objectOf(12 * MIB, 4 * MIB);
  await expect(
    read({ ...object, contentHash: kernels.blake3.hash(new Uint8Array(1)) }),
  ).rejects.toMatchObject({
    code: "data_loss",
  });
});

test("a consumer that stops, and a signal that aborts, free everything", async () => {
  cluster = new Cluster();
  const { object } = objectOf(20 * MIB, 4 * MIB);
  const stopped = readObject(cluster.deps(), object).getReader();
  await stopped.read();
  await stopped.cancel();
  while (cluster.connections.open > 0) await new Promise((resolve) => setImmediate(resolve));
  await new Promise((resolve) => setImmediate(resolve));
  expect(cluster.budget.usedBytes).toBe(0);

  const controller = new AbortController();
  const aborted = readObject(cluster.deps(), object, undefined, { signal: controller.signal }).getReader();
  await aborted.read();
  controller.abort();
  await expect(
    (async () => {
      for (;;) if ((await aborted.read()).done) return;
    })(),
  ).rejects.toMatchObject({ code: "canceled" });
});

test("nothing is read before somebody asks", async () => {
  cluster = new Cluster();
  const { object } = objectOf(20 * MIB, 4 * MIB);
  const body = readObject(cluster.deps(), object);
  await new Promise((resolve) => setImmediate(resolve));
  expect(cluster.harness.calls).toEqual([]);
  await body.cancel();
});

test("many large objects at once share a small budget and all end", async () => {
  cluster = new Cluster({ budgetBytes: 3 * MIB });
  const { object, content } = objectOf(8 * MIB, 4 * MIB);
  const deps = cluster.deps();
  const all = await Promise.all(Array.from({ length: 6 }, () => read(object, undefined, deps)));
  for (const bytes of all) expect(Buffer.compare(bytes, content)).toBe(0);
});
