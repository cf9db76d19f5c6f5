/** Finds the true bytes of an item that does not fit its hash, and the shards that lied. */
import { equalBytes } from "../core/bytes.ts";
import { shardRanges } from "../core/erasure/geometry.ts";
import type { ChunkLocation, LocatedObject } from "../core/erasure/location.ts";
import { sourceSets } from "../core/erasure/sources.ts";
import { READ_RESERVE_BYTES } from "../core/limits.ts";
import type { RangeMemory } from "./range-memory.ts";
import { readRange, rebuildRange, type ShardRange, steps } from "./rebuild.ts";
import type { ShardReader } from "./shard-reader.ts";

/** Bytes of one read of an audit. */
const AUDIT_BYTES = 1024 * 1024;

interface Piece extends ShardRange {
  readonly itemOffset: number;
}

/**
 * Fills `destination` with bytes that fit the item's hash, or throws; accuses every shard that it finds to lie.
 * First the same range of all shards is read and the sets of k sources are tried; where that is too large,
 * or the item spans shards, every shard involved is hashed as a whole.
 * @throws DataStreamError `data_loss` naming chunk and nodes.
 */
export async function healItem(
  reader: ShardReader,
  memory: RangeMemory,
  item: LocatedObject,
  destination: Uint8Array,
  signal: AbortSignal,
): Promise<void> {
  const { blake3 } = reader.deps.kernels;
  const pieces = piecesOf(item);
  const only = pieces[0];
  if (only !== undefined && pieces.length === 1) {
    const fits = (bytes: Uint8Array): boolean => equalBytes(blake3.hash(bytes), item.contentHash);
    const bytes = await trySources(reader, memory, only, fits, signal);
    if (bytes !== undefined) {
      destination.set(bytes);
      return;
    }
  }
  const audits = new Map<string, Promise<boolean>>();
  for (const piece of pieces) await readAudited(reader, memory, piece, destination, audits, signal);
  if (equalBytes(blake3.hash(destination), item.contentHash)) return;
  throw reader.contradictionIn((only as Piece).chunk);
}

function piecesOf(item: LocatedObject): Piece[] {
  return item.extents.flatMap(({ chunk, chunkOffset, objectOffset, length }) => {
    let itemOffset = objectOffset;
    return shardRanges(chunkOffset, length, chunk.shardLength).map((range) => {
      const piece = {
        chunk,
        index: range.shardIndex,
        offset: range.offset,
        length: range.length,
        itemOffset,
      };
      itemOffset += range.length;
      return piece;
    });
  });
}

/** The range as the first set of sources gives it that fits; undefined when none does, or it is too large to try. */
async function trySources(
  reader: ShardReader,
  memory: RangeMemory,
  range: ShardRange,
  fits: (bytes: Uint8Array) => boolean,
  signal: AbortSignal,
): Promise<Uint8Array | undefined> {
  const { chunk, index, offset, length } = range;
  const geometry = { k: chunk.dataShards, m: chunk.parityShards };
  const { rs } = reader.deps.kernels;
  const needed = length * (chunk.shards.length + 2);
  if (needed > READ_RESERVE_BYTES) return undefined;
  const lease = await memory.lease(needed, signal);
  try {
    const indices = [...(reader.isLost(chunk, index) ? [] : [index]), ...reader.sources(chunk, index)];
    const read = await Promise.allSettled(
      indices.map((each) => reader.read(chunk, each, offset, length, new Uint8Array(length))),
    );
    const found = new Map<number, Uint8Array>();
    indices.forEach((each, i) => {
      const result = read[i] as (typeof read)[number];
      if (result.status === "rejected") throw result.reason;
      if (result.value !== undefined) found.set(each, result.value);
    });
    // What was damaged on the way, and not on the node, is right this time.
    const own = found.get(index);
    if (own !== undefined && fits(own)) return own;
    const others = [...found.keys()].filter((each) => each !== index);
    for (const set of sourceSets(others, geometry.k)) {
      const sources = new Map(set.map((each) => [each, found.get(each) as Uint8Array]));
      const bytes = rs.reconstructBytes(geometry, sources, [index]).get(index) as Uint8Array;
      if (!fits(bytes)) continue;
      const rest = [...found.keys()].filter((each) => !sources.has(each));
      const derived = rs.reconstructBytes(geometry, sources, rest);
      for (const each of rest) {
        const stored = found.get(each) as Uint8Array;
        if (!equalBytes(stored, derived.get(each) as Uint8Array)) reader.accuse(chunk, each);
      }
      return bytes;
    }
    return undefined;
  } finally {
    lease.release();
  }
}

/** Fills a piece from shards whose whole hash is right. */
async function readAudited(
  reader: ShardReader,
  memory: RangeMemory,
  piece: Piece,
  destination: Uint8Array,
  audits: Map<string, Promise<boolean>>,
  signal: AbortSignal,
): Promise<void> {
  const { chunk, index, offset, itemOffset } = piece;
  const accept = (each: number): Promise<boolean> => {
    const name = `${chunk.id}/${each}`;
    let audit = audits.get(name);
    if (audit === undefined) audits.set(name, (audit = auditShard(reader, memory, chunk, each, signal)));
    return audit;
  };
  const sink = (at: number, bytes: Uint8Array): void => destination.set(bytes, itemOffset + at - offset);
  if (await accept(index)) await readRange(reader, memory, piece, sink, { signal, accept });
  else await rebuildRange(reader, memory, piece, sink, { signal, accept });
}

/** Whether a shard, read as a whole, has the hash that was stored for it. One that has not is accused. */
export async function auditShard(
  reader: ShardReader,
  memory: RangeMemory,
  chunk: ChunkLocation,
  index: number,
  signal?: AbortSignal,
): Promise<boolean> {
  if (reader.isLost(chunk, index)) return false;
  const hasher = reader.deps.kernels.blake3.incremental();
  const shard = { offset: 0, length: chunk.shardLength };
  const buffer = await memory.take(Math.min(AUDIT_BYTES, shard.length), signal).catch((error: unknown) => {
    hasher.dispose();
    throw error;
  });
  let digest: Uint8Array | undefined;
  try {
    for (const step of steps(shard, AUDIT_BYTES)) {
      const into =
        buffer.bytes.buffer.byteLength > 0 ? buffer.bytes.buffer : new ArrayBuffer(buffer.capacity);
      const bytes = await reader.read(chunk, index, step.offset, step.length, new Uint8Array(into));
      if (bytes === undefined) return false;
      buffer.bytes = bytes;
      hasher.update(bytes);
    }
    digest = hasher.digest();
  } finally {
    if (digest === undefined) hasher.dispose();
    buffer.free();
  }
  const { hash } = reader.current(chunk).shards[index] as { readonly hash: Uint8Array };
  if (equalBytes(digest, hash)) return true;
  reader.accuse(chunk, index);
  return false;
}
