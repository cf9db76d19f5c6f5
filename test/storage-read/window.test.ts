import { afterEach, expect, test } from "vitest";
import type { LocatedItem } from "../../core/erasure/location.ts";
import { DataStreamError } from "../../core/errors.ts";
import { type ItemWindow, openItemWindow } from "../../storage/item-window.ts";
import type { ReadDeps } from "../../storage/shard-reader.ts";
import { Cluster, kernels, packItems } from "./cluster.ts";

const MIB = 1 << 20;
let cluster = new Cluster();

afterEach(async () => {
  // Reads that a closed window left behind give their memory back when they settle.
  while (cluster.connections.open > 0) await new Promise((resolve) => setImmediate(resolve));
  expect(cluster.harness.violations).toEqual([]);
  expect(cluster.connections.peak).toBeLessThanOrEqual(6);
  expect(cluster.budget.usedBytes).toBe(0);
  expect(cluster.budget.peakBytes).toBeLessThanOrEqual(cluster.budget.totalBytes);
  expect(kernels.heap.freeBytes).toBe(kernels.heap.capacity);
});

function open(
  items: readonly LocatedItem[],
  readAheadBytes: number,
  deps: ReadDeps = cluster.deps(),
): ItemWindow {
  return openItemWindow(deps, items, { signal: new AbortController().signal, readAheadBytes });
}

/** Reads all items in batches and compares every byte. */
async function deliver(
  window: ItemWindow,
  items: readonly LocatedItem[],
  contents: readonly Uint8Array[],
  batch: number,
): Promise<void> {
  const region = kernels.heap.tryAllocate(8 * MIB);
  if (region === undefined) throw new Error("the test's kernel heap is too small");
  try {
    for (let first = 0; first < items.length; first += batch) {
      let at = 0;
      const part = items.slice(first, first + batch);
      const destinations = part.map(({ size }) => region.view.subarray(at, (at += size)));
      await window.fill(first, destinations);
      destinations.forEach((bytes, i) =>
        expect(Buffer.compare(bytes, contents[first + i] as Uint8Array), `item ${first + i}`).toBe(0),
      );
    }
  } finally {
    window.close();
    region.free();
  }
}

const readBytes = (): number =>
  cluster.harness.calls.filter(({ method }) => method === "read").reduce((sum, { bytes }) => sum + bytes, 0);

test("a sequential window reads every byte once, in ranges of about 1 MiB, six at a time", async () => {
  cluster = new Cluster();
  const { items, contents } = packItems(cluster, Array<number>(256).fill(65_536), 16 * MIB);
  await deliver(open(items, 8 * MIB), items, contents, 16);
  expect(readBytes()).toBe(16 * MIB);
  expect(cluster.harness.calls).toHaveLength(16);
  expect(cluster.connections).toMatchObject({ peak: 6, calls: 16, open: 0 });
  expect(cluster.damages).toEqual([]);
});

test("items of no byte, of one, and across shards and chunks are delivered", async () => {
  cluster = new Cluster();
  const sizes = [0, 1, 0, 3_000, 70_000, 1, 0, 4_096, 33_333, 0];
  const { items, contents } = packItems(cluster, sizes, 16_384);
  await deliver(open(items, MIB), items, contents, 3);
});

test("destinations outside kernel memory are verified too", async () => {
  cluster = new Cluster();
  const { items, contents } = packItems(cluster, [100, 200_000, 5], 65_536);
  const window = open(items, MIB);
  const destinations = items.map(({ size }) => new Uint8Array(size));
  await window.fill(0, destinations);
  window.close();
  destinations.forEach((bytes, i) => expect(Buffer.compare(bytes, contents[i] as Uint8Array)).toBe(0));
});

test.each([1, 2])(
  "with %i of six nodes down a stripe is fetched once, whatever is lost of it",
  async (down) => {
    cluster = new Cluster();
    const { items, contents } = packItems(cluster, Array<number>(512).fill(65_536), 16 * MIB);
    for (let node = 1; node <= down; node++) cluster.wipe(node);
    await deliver(open(items, 16 * MIB), items, contents, 16);
    const gone = new Set(Array.from({ length: down }, (_, i) => `node-${i + 1}`));
    const useful = cluster.harness.calls
      .filter(({ backend }) => !gone.has(backend))
      .reduce((sum, { bytes }) => sum + bytes, 0);
    expect(useful).toBeLessThanOrEqual(1.13 * 32 * MIB);
  },
);

test("a node that does not answer is asked once, and its shards are not blamed", async () => {
  cluster = new Cluster();
  const { items, contents } = packItems(cluster, Array<number>(256).fill(65_536), 4 * MIB);
  cluster.harness.plan = ({ backend }) => (backend === "node-2" ? "fail" : undefined);
  await deliver(open(items, 4 * MIB), items, contents, 16);
  const asked = cluster.harness.calls.filter(({ backend }) => backend === "node-2");
  expect(asked.length).toBeLessThanOrEqual(6);
  expect(cluster.damages).toEqual([]);
});

test("more nodes silent than shards to spare: unavailable, which a retry may mend, not data loss", async () => {
  cluster = new Cluster();
  const { items, contents } = packItems(cluster, [200_000], 262_144);
  cluster.harness.plan = ({ backend }) => (/node-[123]/.test(backend) ? "fail" : undefined);
  await expect(deliver(open(items, MIB), items, contents, 1)).rejects.toMatchObject({
    code: "unavailable",
    details: { chunk: items[0]?.extents[0]?.chunk.id },
  });
});

test("a full budget slows a window down to the reserve, and stops it never", async () => {
  cluster = new Cluster({ budgetBytes: 8 * MIB });
  const { items, contents } = packItems(cluster, Array<number>(64).fill(200_000), 4 * MIB);
  const all = cluster.budget.tryAcquire(8 * MIB);
  await deliver(open(items, 8 * MIB), items, contents, 4);
  cluster.wipe(3);
  cluster.wipe(4);
  await deliver(open(items, 8 * MIB), items, contents, 4);
  all?.release();
});

test("eight windows in a budget for two all end", async () => {
  cluster = new Cluster({ budgetBytes: 4 * MIB });
  const { items, contents } = packItems(cluster, Array<number>(100).fill(50_000), 2 * MIB);
  const deps = cluster.deps();
  const small = async (): Promise<void> => {
    const window = open(items, 2 * MIB, deps);
    for (let first = 0; first < items.length; first += 10) {
      const destinations = items.slice(first, first + 10).map(({ size }) => new Uint8Array(size));
      await window.fill(first, destinations);
      destinations.forEach((bytes, i) =>
        expect(Buffer.compare(bytes, contents[first + i] as Uint8Array)).toBe(0),
      );
    }
    window.close();
  };
  await Promise.all(Array.from({ length: 8 }, small));
});

test("an abort ends a waiting fill at once, and leaves no memory and no unhandled failure behind", async () => {
  cluster = new Cluster();
  const { items } = packItems(cluster, Array<number>(64).fill(65_536), 4 * MIB);
  for (const failing of [false, true]) {
    const held = Promise.withResolvers<void>();
    cluster.harness.plan = async () => {
      await held.promise;
      return failing ? "fail" : undefined;
    };
    const controller = new AbortController();
    const window = openItemWindow(cluster.deps(), items, {
      signal: controller.signal,
      readAheadBytes: 4 * MIB,
    });
    const destinations = items.slice(0, 8).map(({ size }) => new Uint8Array(size).fill(7));
    const filled = window.fill(0, destinations);
    const outcome = filled.catch((error: unknown) => error);
    controller.abort();
    expect(await outcome).toMatchObject({ code: "canceled" });
    held.resolve();
    while (cluster.connections.open > 0) await new Promise((resolve) => setImmediate(resolve));
    // The caller may use the memory for something else from the rejection on.
    for (const bytes of destinations) expect(bytes.every((byte) => byte === 7)).toBe(true);
    window.close();
    expect(cluster.budget.usedBytes).toBe(0);
  }
  expect(cluster.harness.calls.length).toBeLessThanOrEqual(12);
});

test("an aborted signal starts nothing; closing twice and early is harmless", async () => {
  cluster = new Cluster();
  const { items } = packItems(cluster, Array<number>(64).fill(65_536), 4 * MIB);
  const window = openItemWindow(cluster.deps(), items, {
    signal: AbortSignal.abort(),
    readAheadBytes: 4 * MIB,
  });
  await expect(window.fill(0, [new Uint8Array(65_536)])).rejects.toMatchObject({ code: "canceled" });
  window.close();
  window.close();
  expect(cluster.harness.calls).toEqual([]);
});

test("a shard that repair moved is looked up again once, and is not lost", async () => {
  cluster = new Cluster();
  const { items, contents } = packItems(cluster, Array<number>(32).fill(65_536), 4 * MIB);
  const stale = items[0]?.extents[0]?.chunk;
  if (stale === undefined) throw new Error("no chunk");
  const moved = {
    ...stale,
    shards: stale.shards.map((shard) => (shard.index === 0 ? { ...shard, generation: 3 } : shard)),
  };
  const bytes = cluster.shard(stale, 0).slice();
  cluster.replaceShard(stale, 0, undefined);
  cluster.replaceShard(moved, 0, bytes);
  let refreshes = 0;
  const refreshChunk: NonNullable<ReadDeps["refreshChunk"]> = async (chunkId) => {
    refreshes++;
    return chunkId === stale.id ? moved : undefined;
  };
  await deliver(open(items, 4 * MIB, cluster.deps({ refreshChunk })), items, contents, 8);
  expect(refreshes).toBe(1);
  expect(cluster.damages).toEqual([]);
});

test("a window over shards marked as lost in a stale location finds the repaired ones before it gives up", async () => {
  cluster = new Cluster();
  const { items, contents } = packItems(cluster, Array<number>(8).fill(65_536), 4 * MIB);
  const whole = items[0]?.extents[0]?.chunk;
  if (whole === undefined) throw new Error("no chunk");
  const stale = { ...whole, shards: whole.shards.map((shard) => ({ ...shard, stored: shard.index > 2 })) };
  const located = items.map((item) => ({
    ...item,
    extents: item.extents.map((extent) => ({ ...extent, chunk: stale })),
  }));
  const refreshChunk = (): Promise<typeof whole> => Promise.resolve(whole);
  await deliver(open(located, 0, cluster.deps({ refreshChunk })), located, contents, 4);
});

test("when the catalog cannot be asked again, the shard counts as missing and the read goes on", async () => {
  cluster = new Cluster();
  const { items, contents } = packItems(cluster, Array<number>(32).fill(65_536), 4 * MIB);
  cluster.wipe(1);
  const refreshChunk = (): Promise<never> => Promise.reject(new DataStreamError("unavailable", "no catalog"));
  await deliver(open(items, 4 * MIB, cluster.deps({ refreshChunk })), items, contents, 8);
  expect(cluster.damages).toMatchObject([{ shardIndex: 0, generation: 0, reason: "missing" }]);
});

test("a liar is found once: what was read of its shard before is dropped, the rest comes from others", async () => {
  cluster = new Cluster();
  const { items, contents } = packItems(cluster, Array<number>(256).fill(65_536), 16 * MIB);
  const chunk = items[0]?.extents[0]?.chunk;
  if (chunk === undefined) throw new Error("no chunk");
  cluster.shard(chunk, 1).fill(0xaa);
  await deliver(open(items, 8 * MIB), items, contents, 16);
  expect(cluster.damages).toEqual([{ chunkId: chunk.id, shardIndex: 1, generation: 0, reason: "corrupt" }]);
  // Each of the liar's items healed alone would cost five more ranges.
  expect(cluster.harness.calls.length).toBeLessThan(60);
});

test("bytes that were damaged on the way only are read again, and nobody is blamed", async () => {
  cluster = new Cluster();
  const { items, contents } = packItems(cluster, [50_000, 50_000], 262_144);
  const deps = cluster.deps();
  const [id, node] = [...deps.nodes][0] ?? [];
  if (id === undefined || node === undefined) throw new Error("no node");
  let spoiled = 0;
  const store = Object.create(node.store) as typeof node.store;
  store.read = async (...call) => {
    const bytes = await node.store.read(...call);
    if (bytes !== undefined && spoiled++ === 0) bytes[5] = (bytes[5] as number) ^ 1;
    return bytes;
  };
  const nodes = new Map([...deps.nodes, [id, { ...node, store }]]);
  await deliver(open(items, MIB, { ...deps, nodes }), items, contents, 2);
  expect(spoiled).toBeGreaterThan(1);
  expect(cluster.damages).toEqual([]);
});

test("an item whose catalog hash is wrong is data loss, naming the chunk, not a wrong byte", async () => {
  cluster = new Cluster();
  const { items } = packItems(cluster, [50_000], 262_144);
  const [item] = items;
  if (item === undefined) throw new Error("no item");
  const lying = { ...item, contentHash: new Uint8Array(32) };
  const window = open([lying], MIB);
  await expect(window.fill(0, [new Uint8Array(50_000)])).rejects.toMatchObject({
    code: "data_loss",
    details: { chunk: item.extents[0]?.chunk.id },
  });
  window.close();
  expect(cluster.damages).toEqual([]);
});

test("a destination of another size than its item is refused", async () => {
  cluster = new Cluster();
  const { items } = packItems(cluster, [100], 4_096);
  const window = open(items, MIB);
  await expect(window.fill(0, [new Uint8Array(99)])).rejects.toBeInstanceOf(DataStreamError);
  await expect(window.fill(1, [new Uint8Array(100)])).rejects.toBeInstanceOf(DataStreamError);
  window.close();
});
