import type { PutOutcome, ShardStore } from "../core/ports.ts";

const LIST_MAX = 1_000;

/** A store that lives as long as the object: for tests, and the model that the other stores are held to. */
export class MemoryShardStore implements ShardStore {
  /** What is stored, by key. Tests damage shards here. */
  readonly shards: Map<string, Uint8Array<ArrayBuffer>> = new Map();

  async put(key: string, bytes: Uint8Array): Promise<PutOutcome> {
    if (this.shards.has(key)) return "exists";
    this.shards.set(key, new Uint8Array(bytes));
    return "created";
  }

  async read(
    key: string,
    offset: number,
    length: number,
    into: Uint8Array<ArrayBuffer>,
  ): Promise<Uint8Array<ArrayBuffer> | undefined> {
    const shard = this.shards.get(key);
    if (shard === undefined || shard.byteLength < offset + length) return undefined;
    into.set(shard.subarray(offset, offset + length));
    return into.subarray(0, length);
  }

  async size(key: string): Promise<number | undefined> {
    return this.shards.get(key)?.byteLength;
  }

  async delete(keys: readonly string[]): Promise<void> {
    for (const key of keys) this.shards.delete(key);
  }

  async list(prefix: string, startAfter?: string): Promise<readonly string[]> {
    return [...this.shards.keys()]
      .filter((key) => key.startsWith(prefix) && (startAfter === undefined || key > startAfter))
      .toSorted()
      .slice(0, LIST_MAX);
  }
}
