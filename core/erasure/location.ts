/** Where stored bytes lie: the answer of the catalog, the input of every read. */

export interface ShardLocation {
  /** Data shards first, then parity. */
  readonly index: number;
  readonly nodeId: string;
  /** A repair writes the shard anew under the next generation. */
  readonly generation: number;
  /** BLAKE3 of the whole shard. */
  readonly hash: Uint8Array;
  /** False: known to be missing or lying, and awaiting repair. */
  readonly stored: boolean;
}

export interface ChunkLocation {
  readonly id: string;
  readonly dataShards: number;
  readonly parityShards: number;
  /** Data bytes; what the data shards hold beyond them is zero. */
  readonly length: number;
  readonly shardLength: number;
  /** BLAKE3 of the `length` data bytes. */
  readonly contentHash: Uint8Array;
  /** All k+m, by index. */
  readonly shards: readonly ShardLocation[];
}

/** A run of bytes of an object inside one chunk. */
export interface Extent {
  readonly chunk: ChunkLocation;
  readonly chunkOffset: number;
  readonly objectOffset: number;
  readonly length: number;
}

/** Bytes with a hash to check them against. Extents ascend and cover `size` without gap or overlap. */
export interface LocatedObject {
  readonly size: number;
  readonly contentHash: Uint8Array;
  readonly extents: readonly Extent[];
}

/** One file of a dataset. */
export interface LocatedItem extends LocatedObject {
  readonly index: number;
}
