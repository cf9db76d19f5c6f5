import { equalBytes } from "../core/bytes.ts";
import type { ChunkLocation, ShardLocation } from "../core/erasure/location.ts";
import type { Blake3Incremental } from "../core/ports.ts";
import type { RangeMemory } from "./range-memory.ts";
import { steps } from "./rebuild.ts";
import type { ShardReader } from "./shard-reader.ts";

/** Bytes of all sources of one step. */
const STEP_BYTES = 4 * 1024 * 1024;

/**
 * Rebuilds whole shards in one pass over k others. The results have the hashes that were stored for them; a source
 * that turns out to lie is accused and the pass made again without it.
 * @returns the shards by index, owned by the caller, who holds the memory for them.
 * @throws DataStreamError `data_loss` naming chunk and nodes, `unavailable`, `canceled`, `resource_exhausted`.
 */
export async function rebuildShards(
  reader: ShardReader,
  memory: RangeMemory,
  chunk: ChunkLocation,
  missing: readonly number[],
  signal?: AbortSignal,
): Promise<Map<number, Uint8Array>> {
  const { blake3 } = reader.deps.kernels;
  const rebuilt = new Map(missing.map((index) => [index, new Uint8Array(chunk.shardLength)]));
  const expected = (index: number): Uint8Array => (chunk.shards[index] as ShardLocation).hash;
  // Each pass that fails does so for want of a source, so there are at most k+m.
  for (let pass = 0; pass <= chunk.shards.length; pass++) {
    const sources = reader
      .sources(chunk, -1)
      .filter((index) => !missing.includes(index))
      .slice(0, chunk.dataShards);
    if (sources.length < chunk.dataShards) break;
    const hashers = new Map(sources.map((index) => [index, blake3.incremental()]));
    let digests: Map<number, Uint8Array> | undefined;
    try {
      if (await combine(reader, memory, chunk, hashers, rebuilt, signal)) {
        digests = new Map([...hashers].map(([index, hasher]) => [index, hasher.digest()]));
      }
    } finally {
      if (digests === undefined) for (const hasher of hashers.values()) hasher.dispose();
    }
    if (digests === undefined) continue;
    if (
      missing.every((index) => equalBytes(blake3.hash(rebuilt.get(index) as Uint8Array), expected(index)))
    ) {
      return rebuilt;
    }
    const liars = [...digests].filter(([index, digest]) => !equalBytes(digest, expected(index)));
    if (liars.length === 0) throw reader.contradictionIn(chunk);
    for (const [index] of liars) reader.accuse(chunk, index);
  }
  throw reader.lossOf(chunk);
}

/** One pass; false when a source could not be read to its end. */
async function combine(
  reader: ShardReader,
  memory: RangeMemory,
  chunk: ChunkLocation,
  hashers: ReadonlyMap<number, Blake3Incremental>,
  rebuilt: ReadonlyMap<number, Uint8Array>,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  const { dataShards: k, parityShards: m, shardLength } = chunk;
  const stepBytes = Math.floor(STEP_BYTES / k / 64) * 64;
  const lease = await memory.lease(k * Math.min(stepBytes, shardLength), signal);
  try {
    for (const { offset, length } of steps({ offset: 0, length: shardLength }, stepBytes)) {
      const indices = [...hashers.keys()];
      const read = await Promise.allSettled(
        indices.map((index) => reader.read(chunk, index, offset, length, new Uint8Array(length))),
      );
      const present = new Map<number, Uint8Array>();
      indices.forEach((index, i) => {
        const result = read[i] as (typeof read)[number];
        if (result.status === "rejected") throw result.reason;
        if (result.value === undefined) return;
        hashers.get(index)?.update(result.value);
        present.set(index, result.value);
      });
      if (present.size < k) return false;
      const parts = reader.deps.kernels.rs.reconstructBytes({ k, m }, present, [...rebuilt.keys()]);
      for (const [index, part] of parts) rebuilt.get(index)?.set(part, offset);
    }
    return true;
  } finally {
    lease.release();
  }
}
