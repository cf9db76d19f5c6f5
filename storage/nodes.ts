import type { ShardStore } from "../core/ports.ts";

/** A place for shards: in production an R2 bucket. A draining node is read but gets no new shard. */
export interface StorageNode {
  readonly id: string;
  readonly name: string;
  readonly state: "live" | "draining";
  readonly store: ShardStore;
}

/** By node id. */
export type StorageNodes = ReadonlyMap<string, StorageNode>;
