import fc from "fast-check";
import { expect, test } from "vitest";
import { shardSize } from "../../core/erasure/geometry.ts";
import { layoutPack, PackLayout, packShardSize } from "../../core/erasure/pack-layout.ts";

const packs = fc.record({
  sizes: fc.oneof(
    fc.array(fc.nat(300), { maxLength: 400 }),
    fc.array(fc.integer({ min: 100, max: 6_000 }), { maxLength: 100 }),
    fc.array(fc.integer({ min: 1, max: 100_000 }), { maxLength: 20 }),
    // Near the sizes of shards and chunks, where mistakes by one live.
    fc.array(fc.constantFrom(63, 64, 65, 1_023, 1_024, 1_025, 4_095, 4_096, 4_097, 16_384, 16_385), {
      maxLength: 60,
    }),
  ),
  capacity: fc.constantFrom(4_096, 16_384, 65_536, 5_000),
  dataShards: fc.integer({ min: 1, max: 10 }),
});

test("what holds for every layout", () => {
  fc.assert(
    fc.property(packs, ({ sizes, capacity, dataShards }) => {
      const { chunks, extents } = layoutPack(sizes, capacity, dataShards);
      const full = packShardSize(capacity, dataShards);
      const ends = chunks.map(() => 0);
      extents.forEach((parts, item) => {
        let objectOffset = 0;
        parts.forEach((part, i) => {
          const chunk = chunks[part.chunk] as (typeof chunks)[number];
          // Whole, in order, inside the data, and no byte twice.
          expect(part.objectOffset).toBe(objectOffset);
          expect(part.length).toBeGreaterThan(0);
          expect(part.chunkOffset).toBeGreaterThanOrEqual(ends[part.chunk] as number);
          ends[part.chunk] = part.chunkOffset + part.length;
          objectOffset += part.length;
          expect(part.chunk).toBe((parts[0] as typeof part).chunk + i);
          // The rule.
          const firstShard = Math.floor(part.chunkOffset / chunk.shardSize);
          const lastShard = Math.floor((part.chunkOffset + part.length - 1) / chunk.shardSize);
          expect(firstShard === lastShard || part.length > chunk.shardSize).toBe(true);
        });
        expect(objectOffset).toBe(sizes[item]);
        expect(parts.length <= 1 || (sizes[item] as number) > full).toBe(true);
      });
      chunks.forEach(({ chunkLength, shardSize: shard }, i) => {
        expect(chunkLength).toBe(ends[i]);
        expect(shard % 64).toBe(0);
        expect(shard).toBeLessThanOrEqual(full);
        expect(shard * dataShards).toBeGreaterThanOrEqual(chunkLength);
        // Below 2 KiB the ladder may have no smaller step.
        expect(shard).toBeLessThanOrEqual(Math.max(2_048, 2 * shardSize(chunkLength, dataShards)));
      });
    }),
    { numRuns: 400 },
  );
});

test("16 MiB chunks of 4+2 keep their whole capacity, others lose at most a sixteenth", () => {
  expect(packShardSize(16 * 1024 * 1024, 4) * 4).toBe(16 * 1024 * 1024);
  for (let dataShards = 1; dataShards <= 21; dataShards++) {
    const share = (packShardSize(16 * 1024 * 1024, dataShards) * dataShards) / (16 * 1024 * 1024);
    expect(share).toBeGreaterThan(15 / 16);
    expect(share).toBeLessThanOrEqual(1);
  }
});

test("little is lost to padding", () => {
  const sizes = Array.from({ length: 20_000 }, (_, i) => 2_000 + ((i * 7_919) % 2_000));
  const { chunks } = layoutPack(sizes, 16 * 1024 * 1024, 4);
  const data = sizes.reduce((sum, size) => sum + size, 0);
  const stored = chunks.reduce((sum, { shardSize: shard }) => sum + 4 * shard, 0);
  expect(chunks).toHaveLength(4);
  // The last chunk is 9 MB in shards of up to 4 MiB.
  expect(stored / data).toBeLessThan(1.15);
  const fullChunks = chunks.slice(0, -1);
  for (const { chunkLength } of fullChunks) expect(chunkLength).toBeGreaterThan(0.999 * 16 * 1024 * 1024);
});

test("a small pack gets small shards", () => {
  expect(layoutPack([100, 100, 100], 16 * 1024 * 1024, 4).chunks).toEqual([
    { chunkLength: 356, shardSize: 128 },
  ]);
  expect(layoutPack([1], 16 * 1024 * 1024, 4).chunks).toEqual([{ chunkLength: 1, shardSize: 64 }]);
  // One item larger than the shards may cross them all.
  expect(layoutPack([3_072], 16 * 1024 * 1024, 4).chunks).toEqual([{ chunkLength: 3_072, shardSize: 768 }]);
  expect(layoutPack([], 4_096, 4).chunks).toEqual([]);
  expect(layoutPack([0, 0], 4_096, 4)).toEqual({ chunks: [], extents: [[], []] });
});

test("place says full instead of cutting an item that fits a shard", () => {
  const layout = new PackLayout(4_096, 4);
  expect(layout.place(1_000)).toEqual({ offset: 0, length: 1_000 });
  expect(layout.place(1_000)).toEqual({ offset: 1_024, length: 1_000 });
  expect(layout.place(1_500)).toEqual({ offset: 2_024, length: 1_500 });
  expect(layout.place(600)).toBe("full");
  expect(layout.place(572)).toEqual({ offset: 3_524, length: 572 });
  expect(layout.seal()).toEqual({ chunkLength: 4_096, shardSize: 1_024 });
});

test("an item larger than a chunk takes the rest of this one and goes on in the next", () => {
  const { chunks, extents } = layoutPack([1_000, 9_000, 100], 4_096, 4);
  expect(extents).toEqual([
    [{ chunk: 0, chunkOffset: 0, objectOffset: 0, length: 1_000 }],
    [
      { chunk: 0, chunkOffset: 1_000, objectOffset: 0, length: 3_096 },
      { chunk: 1, chunkOffset: 0, objectOffset: 3_096, length: 4_096 },
      { chunk: 2, chunkOffset: 0, objectOffset: 7_192, length: 1_808 },
    ],
    [{ chunk: 2, chunkOffset: 1_808, objectOffset: 0, length: 100 }],
  ]);
  expect(chunks.map(({ shardSize: shard }) => shard)).toEqual([1_024, 1_024, 512]);
});
