/** Bit flips, truncations, swapped, foreign and stale shards: healed inside the read, reported, never delivered. */
import { expect, test } from "vitest";
import type { ChunkLocation } from "../../core/erasure/location.ts";
import { openItemWindow } from "../../storage/item-window.ts";
import { readObject } from "../../storage/object-reader.ts";
import { Cluster, type Geometry, kernels, packItems, Random } from "./cluster.ts";

type Kind = "flip" | "truncate" | "swap" | "foreign" | "stale" | "missing";
const KINDS: readonly Kind[] = ["flip", "truncate", "swap", "foreign", "stale", "missing"];
const GEOMETRIES: readonly Geometry[] = [
  { k: 4, m: 2 },
  { k: 2, m: 1 },
  { k: 3, m: 3 },
];
const TRIALS = 1_200;

/** Damages up to m shards; answers whose bytes are no longer what was written. */
function damage(cluster: Cluster, chunk: ChunkLocation, random: Random): Set<number> {
  const { dataShards: k, parityShards: m } = chunk;
  const damaged = new Set<number>();
  const original = chunk.shards.map(({ index }) => cluster.shard(chunk, index).slice());
  const wanted = 1 + random.below(m);
  while (damaged.size < wanted) {
    const index = random.below(k + m);
    if (damaged.has(index)) continue;
    const bytes = (original[index] as Uint8Array).slice();
    const kind = KINDS[random.below(KINDS.length)] as Kind;
    if (kind === "swap") {
      const other = random.below(k + m);
      if (other === index || damaged.has(other) || damaged.size + 2 > m) continue;
      cluster.replaceShard(chunk, index, original[other]);
      cluster.replaceShard(chunk, other, original[index]);
      damaged.add(index).add(other);
      continue;
    }
    if (kind === "flip") {
      const at = random.below(bytes.length);
      bytes[at] = (bytes[at] as number) ^ (1 << random.below(8));
      cluster.replaceShard(chunk, index, bytes);
    } else if (kind === "truncate")
      cluster.replaceShard(chunk, index, bytes.subarray(0, random.below(bytes.length)));
    else if (kind === "missing") cluster.replaceShard(chunk, index, undefined);
    // The same place of another object, or of what an earlier generation held.
    else cluster.replaceShard(chunk, index, random.bytes(bytes.length));
    damaged.add(index);
  }
  return damaged;
}

test(`${TRIALS} damaged chunks read without a wrong byte, and what lied is reported`, async () => {
  for (let seed = 1; seed <= TRIALS; seed++) {
    const random = new Random(seed);
    const geometry = GEOMETRIES[seed % GEOMETRIES.length] as Geometry;
    const cluster = new Cluster({ seed });
    const sizes = Array.from({ length: 1 + random.below(12) }, () => random.below(5_000));
    const chunkBytes = 4_096 + random.below(12_288);
    const { items, contents } = packItems(cluster, [...sizes, 1], chunkBytes, geometry);
    const chunks = [...new Set(items.flatMap(({ extents }) => extents.map(({ chunk }) => chunk)))];
    const damaged = new Map(chunks.map((chunk) => [chunk.id, damage(cluster, chunk, random)]));

    const window = openItemWindow(cluster.deps(), items, {
      signal: new AbortController().signal,
      readAheadBytes: random.below(2) === 0 ? 0 : 1 << 20,
    });
    const region = kernels.heap.tryAllocate(contents.reduce((sum, { length }) => sum + length, 0));
    if (region === undefined) throw new Error("the test's kernel heap is too small");
    let at = 0;
    for (let i = 0; i < items.length; i++) {
      const destination = region.view.subarray(at, (at += (contents[i] as Uint8Array).length));
      await window.fill(i, [destination]);
      if (Buffer.compare(destination, contents[i] as Uint8Array) !== 0)
        throw new Error(`seed ${seed}: item ${i} is wrong`);
    }
    window.close();
    region.free();

    // Nobody is blamed who told the truth, and nobody twice.
    const reports = cluster.damages.map(({ chunkId, shardIndex }) => `${chunkId}/${shardIndex}`);
    expect(new Set(reports).size, `seed ${seed}`).toBe(reports.length);
    for (const { chunkId, shardIndex } of cluster.damages) {
      if (!damaged.get(chunkId)?.has(shardIndex))
        throw new Error(`seed ${seed}: shard ${shardIndex} is blamed wrongly`);
    }
    expect(cluster.harness.violations, `seed ${seed}`).toEqual([]);
    expect(cluster.budget.usedBytes, `seed ${seed}`).toBe(0);
  }
});

test("every damaged data shard whose damage a read met is reported", async () => {
  for (let seed = 1; seed <= 300; seed++) {
    const random = new Random(seed);
    const cluster = new Cluster({ seed });
    const { items, contents } = packItems(cluster, [9_000, 12_345, 7_000], 16_384);
    const chunks = [...new Set(items.flatMap(({ extents }) => extents.map(({ chunk }) => chunk)))];
    const expected: string[] = [];
    for (const chunk of chunks) {
      for (const index of damage(cluster, chunk, random))
        if (index < chunk.dataShards) expected.push(`${chunk.id}/${index}`);
    }
    const object = { items, contents };
    for (const [i, item] of object.items.entries()) {
      const body = readObject(cluster.deps(), item);
      const bytes = new Uint8Array(await new Response(body).arrayBuffer());
      expect(Buffer.compare(bytes, object.contents[i] as Uint8Array), `seed ${seed}`).toBe(0);
    }
    const reported = new Set(cluster.damages.map(({ chunkId, shardIndex }) => `${chunkId}/${shardIndex}`));
    // What lies behind the end of the data, or behind a cut, no read of these items meets.
    const unmet = expected.filter((name) => !reported.has(name));
    for (const name of unmet) {
      const [chunkId, index] = name.split("/") as [string, string];
      const chunk = chunks.find(({ id }) => id === chunkId) as ChunkLocation;
      const start = Number(index) * chunk.shardLength;
      const met = Math.max(0, Math.min(chunk.length - start, chunk.shardLength));
      const stored = cluster.storeOf(chunk, Number(index)).shards.get(`${chunkId}/${index}.0`);
      const whole = wholeShard(chunk, contents, items, Number(index));
      expect(
        Buffer.compare(stored?.subarray(0, met) ?? new Uint8Array(), whole.subarray(0, met)),
        `seed ${seed} ${name}`,
      ).toBe(0);
    }
  }
});

/** What a data shard should hold, from the items over its chunk. */
function wholeShard(
  chunk: ChunkLocation,
  contents: readonly Uint8Array[],
  items: readonly {
    readonly extents: readonly {
      chunk: ChunkLocation;
      chunkOffset: number;
      objectOffset: number;
      length: number;
    }[];
  }[],
  index: number,
): Uint8Array {
  const data = new Uint8Array(chunk.shardLength * chunk.dataShards);
  items.forEach(({ extents }, i) => {
    for (const extent of extents) {
      if (extent.chunk !== chunk) continue;
      const { objectOffset, length, chunkOffset } = extent;
      data.set((contents[i] as Uint8Array).subarray(objectOffset, objectOffset + length), chunkOffset);
    }
  });
  return data.subarray(index * chunk.shardLength, (index + 1) * chunk.shardLength);
}
