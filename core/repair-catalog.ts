/**
 * What repair and scrub need from the catalog. `catalog/repair.ts` implements it over SQL; every method is one
 * statement, so it takes effect as a whole or not at all.
 */
import type { ChunkLocation } from "./erasure/location.ts";

/** A shard that a read or a scrub found to be gone, or to hold other bytes than were written. */
export interface DamagedShard {
  readonly chunkId: string;
  readonly shardIndex: number;
  /** The damaged copy. A report about a copy that was replaced meanwhile has no effect. */
  readonly generation: number;
  readonly reason: "missing" | "corrupt";
}

/** Shards of one chunk that a worker has taken for a while. */
export interface RepairTask {
  readonly chunk: ChunkLocation;
  readonly shardIndices: readonly number[];
}

/** Where a shard is to be written anew. */
export interface ShardMove {
  readonly chunkId: string;
  readonly shardIndex: number;
  /** Of the damaged copy. */
  readonly fromGeneration: number;
  readonly toGeneration: number;
  readonly nodeId: string;
}

export interface RepairCatalog {
  /** Takes up to `limit` shards that are due, most urgent first; nobody else gets them for `leaseMs`. */
  lease(limit: number, leaseMs: number): Promise<readonly RepairTask[]>;
  /**
   * Names a key that was never used before for the shard's next copy, and leaves it to garbage collection unless
   * `commit` takes it over. To be called before the copy is written, so that no crash leaves an unknown key.
   */
  begin(shard: {
    readonly chunkId: string;
    readonly shardIndex: number;
    readonly fromGeneration: number;
    readonly nodeId: string;
  }): Promise<ShardMove>;
  /**
   * Makes the written copy the shard's one, leaves the old to garbage collection and ends the task. False when
   * the shard was moved, or its chunk condemned, by somebody else.
   */
  commit(move: ShardMove): Promise<boolean>;
  /** The stored copy turned out to be whole: ends the task. */
  acquit(chunkId: string, shardIndex: number, generation: number): Promise<void>;
  /** Puts the shards off, longer with each attempt. */
  postpone(chunkId: string, shardIndices: readonly number[]): Promise<void>;
  /** Shards of live chunks that wait, those put off or taken included. */
  countWaiting(): Promise<number>;
  /** Marks shards as not stored and queues them; what is queued stays as it is. */
  queue(damages: readonly DamagedShard[], origin: "read" | "scrub"): Promise<void>;
  /** Live chunks by ascending id, after `afterChunkId`. */
  listChunks(afterChunkId: string | undefined, limit: number): Promise<readonly ChunkLocation[]>;
}
