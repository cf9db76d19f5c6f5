/** 4+2 on six nodes: any two may be lost, any three are named, and no byte is ever wrong. */
import { afterEach, expect, test } from "vitest";
import { DataStreamError } from "../../core/errors.ts";
import type { ChunkLocation, LocatedItem } from "../../core/erasure/location.ts";
import { openItemWindow } from "../../storage/item-window.ts";
import { readObject } from "../../storage/object-reader.ts";
import { Cluster, itemAt, kernels } from "./cluster.ts";

const NODES = [1, 2, 3, 4, 5, 6];
/** Around the edges of BLAKE3 blocks and chunks, shards of 64 bytes, and a shard that spans several reads. */
const SIZES = [1, 63, 64, 65, 255, 256, 257, 1023, 1024, 1025, 4096, 65_535, 65_537, 262_145, 9_000_001];

const cluster = new Cluster();
const chunks = SIZES.map((size) => {
  const data = cluster.random.bytes(size);
  return { size, data, chunk: cluster.addChunk(data) };
});
const saved = cluster.stores.map(({ shards }) => new Map(shards));

function lose(nodes: readonly number[]): void {
  cluster.stores.forEach((store, i) => {
    store.shards.clear();
    if (nodes.includes(i + 1)) return;
    for (const [key, bytes] of saved[i] as (typeof saved)[number]) store.shards.set(key, bytes);
  });
}

/** Items that cut a chunk at awkward places, small ones first. */
function itemsOf(chunk: ChunkLocation, data: Uint8Array): LocatedItem[] {
  const cuts = [0, 1, 64, Math.floor(data.length / 3), Math.floor(data.length / 2), data.length]
    .filter((cut) => cut <= data.length)
    .toSorted((a, b) => a - b);
  return cuts.slice(1).map((end, i) => itemAt(i, chunk, data, cuts[i] as number, end - (cuts[i] as number)));
}

async function readItems(items: readonly LocatedItem[]): Promise<Uint8Array> {
  const window = openItemWindow(cluster.deps(), items, {
    signal: new AbortController().signal,
    readAheadBytes: 4 << 20,
  });
  const total = items.reduce((sum, { size }) => sum + size, 0);
  const region = kernels.heap.tryAllocate(total);
  if (region === undefined) throw new Error("the test's kernel heap is too small");
  try {
    let at = 0;
    const destinations = items.map(({ size }) => region.view.subarray(at, (at += size)));
    await window.fill(0, destinations);
    return region.view.slice();
  } finally {
    window.close();
    region.free();
  }
}

async function readAll(chunk: ChunkLocation, size: number): Promise<Uint8Array> {
  const extents = [{ chunk, chunkOffset: 0, objectOffset: 0, length: size }];
  const body = readObject(cluster.deps(), { size, contentHash: chunk.contentHash, extents });
  return new Uint8Array(await new Response(body).arrayBuffer());
}

afterEach(() => {
  expect(cluster.harness.violations).toEqual([]);
  expect(cluster.harness.peak.openCalls).toBeLessThanOrEqual(6);
  expect(cluster.budget.usedBytes).toBe(0);
});

const pairs = NODES.flatMap((a) => NODES.filter((b) => b >= a).map((b) => (a === b ? [a] : [a, b])));

test.each(pairs)("without nodes %s, %s every size reads byte for byte", async (...lost) => {
  lose(lost.filter((node) => node !== undefined));
  for (const { size, data, chunk } of chunks) {
    expect(Buffer.compare(await readItems(itemsOf(chunk, data)), data), `items of ${size}`).toBe(0);
    expect(Buffer.compare(await readAll(chunk, size), data), `object of ${size}`).toBe(0);
  }
});

test("the pairs are all losses of up to two nodes", () => {
  expect(pairs).toHaveLength(21);
});

const triples = NODES.flatMap((a) =>
  NODES.filter((b) => b > a).flatMap((b) => NODES.filter((c) => c > b).map((c) => [a, b, c] as const)),
);

test.each(triples)("without nodes %i, %i, %i the loss is named and no byte is wrong", async (...lost) => {
  lose(lost);
  for (const { size, data, chunk } of chunks) {
    for (const read of [() => readItems(itemsOf(chunk, data)), () => readAll(chunk, size)]) {
      const outcome = await read().catch((error: unknown) => error);
      // Bytes that need none of the lost shards may still be read, and are right.
      if (outcome instanceof Uint8Array) {
        expect(Buffer.compare(outcome, data)).toBe(0);
        continue;
      }
      expect(outcome).toBeInstanceOf(DataStreamError);
      const { code, details, message } = outcome as DataStreamError;
      expect(code).toBe("data_loss");
      expect(details["chunk"]).toBe(chunk.id);
      expect(details["nodes"]).toEqual(lost.map((node) => `node-${node}`));
      for (const node of lost) expect(message).toContain(`node-${node}`);
    }
  }
});

test("the triples are all losses of three nodes", () => {
  expect(triples).toHaveLength(20);
});
