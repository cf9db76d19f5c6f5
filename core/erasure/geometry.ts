/**
 * Shape of an erasure-coded chunk: k data shards and m parity shards. Data shards are contiguous slices of the
 * chunk, so a small range of the chunk is a small range of one shard; what the chunk does not fill is zero.
 */
import { invalidArgument } from "../errors.ts";
import {
  CHUNK_MAX_BYTES,
  CHUNK_MIN_BYTES,
  DATA_SHARDS_MAX,
  PARITY_SHARDS_MAX,
  SHARD_ALIGNMENT_BYTES,
} from "../limits.ts";

export interface Geometry {
  /** k */
  readonly dataShards: number;
  /** m: how many shards of a chunk may be lost. */
  readonly parityShards: number;
}

/** @throws `invalid_argument` naming `data_shards` or `parity_shards`. */
export function checkGeometry(geometry: Geometry): void {
  checkRange("data_shards", geometry.dataShards, 1, DATA_SHARDS_MAX);
  checkRange("parity_shards", geometry.parityShards, 1, PARITY_SHARDS_MAX);
}

/** @throws `invalid_argument` for a chunk capacity or a geometry outside the limits. */
export function checkChunkCapacity(capacity: number, geometry: Geometry): void {
  checkRange("chunk_bytes", capacity, CHUNK_MIN_BYTES, CHUNK_MAX_BYTES);
  checkGeometry(geometry);
}

/**
 * Bytes of each shard of a chunk that holds `chunkLength` data bytes: the least multiple of 64 with
 * k × shard ≥ chunk. 64 is one BLAKE3 block and a whole number of steps of the Reed-Solomon kernel.
 */
export function shardSize(chunkLength: number, dataShards: number): number {
  return Math.max(1, Math.ceil(chunkLength / dataShards / SHARD_ALIGNMENT_BYTES)) * SHARD_ALIGNMENT_BYTES;
}

/** A range of one data shard. */
export interface ShardRange {
  /** 0 to k−1. */
  readonly shardIndex: number;
  /** Bytes from the start of the shard. */
  readonly offset: number;
  readonly length: number;
}

/** The data shard ranges, in order, that hold `length` bytes of a chunk from `offset`. */
export function shardRanges(offset: number, length: number, shardLength: number): ShardRange[] {
  const ranges: ShardRange[] = [];
  for (let at = offset; at < offset + length;) {
    const shardIndex = Math.floor(at / shardLength);
    const within = at - shardIndex * shardLength;
    const part = Math.min(shardLength - within, offset + length - at);
    ranges.push({ shardIndex, offset: within, length: part });
    at += part;
  }
  return ranges;
}

function checkRange(field: string, value: number, least: number, most: number): void {
  if (Number.isInteger(value) && value >= least && value <= most) return;
  throw invalidArgument(field, `must be a whole number from ${least} to ${most}, not ${value}.`, {
    limit: most,
  });
}
