/** Six nodes in memory with chunks written to them, without a catalog: what reads work on. */
import { randomUUID } from "node:crypto";
import { shardSize } from "../../core/erasure/geometry.ts";
import type { ChunkLocation, Extent, LocatedItem, ShardLocation } from "../../core/erasure/location.ts";
import { ISOLATE_BUDGET_BYTES } from "../../core/limits.ts";
import { type Kernels, loadKernels } from "../../kernels/index.ts";
import type { DamagedShard } from "../../core/repair-catalog.ts";
import { ByteBudget } from "../../storage/byte-budget.ts";
import { ConnectionGate } from "../../storage/connections.ts";
import { MemoryShardStore } from "../../storage/memory-shard-store.ts";
import type { StorageNode } from "../../storage/nodes.ts";
import { shardKey } from "../../storage/shard-key.ts";
import type { ReadDeps } from "../../storage/shard-reader.ts";
import { FaultHarness } from "../support/faults.ts";

export interface Geometry {
  readonly k: number;
  readonly m: number;
}

export const kernels: Kernels = await loadKernels({ heapBytes: 40 * 1024 * 1024 });

/** xorshift32: repeatable bytes and choices. */
export class Random {
  #state: number;
  constructor(seed: number) {
    this.#state = (seed ^ 0x9e3779b9) >>> 0 || 1;
  }
  next(): number {
    let x = this.#state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    return (this.#state = x >>> 0);
  }
  /** 0 to limit − 1. */
  below(limit: number): number {
    return this.next() % limit;
  }
  bytes(length: number): Uint8Array<ArrayBuffer> {
    const words = new Uint32Array(Math.ceil(length / 4));
    for (let i = 0; i < words.length; i++) words[i] = this.next();
    return new Uint8Array(words.buffer, 0, length);
  }
}

export class Cluster {
  readonly stores: MemoryShardStore[] = [];
  readonly nodes: Map<string, StorageNode> = new Map();
  readonly harness: FaultHarness = new FaultHarness();
  readonly budget: ByteBudget;
  readonly damages: DamagedShard[] = [];
  readonly random: Random;
  connections: ConnectionGate = new ConnectionGate();

  constructor(
    options: { readonly nodes?: number; readonly budgetBytes?: number; readonly seed?: number } = {},
  ) {
    this.random = new Random(options.seed ?? 1);
    this.budget = new ByteBudget(options.budgetBytes ?? ISOLATE_BUDGET_BYTES);
    for (let i = 1; i <= (options.nodes ?? 6); i++) {
      const store = new MemoryShardStore();
      this.stores.push(store);
      const id = nodeId(i);
      const name = `node-${i}`;
      this.nodes.set(id, { id, name, state: "live", store: this.harness.wrapStore(store, name) });
    }
  }

  /** As a new invocation has them. */
  deps(more: Partial<ReadDeps> = {}): ReadDeps {
    this.connections = new ConnectionGate();
    const { nodes, budget, connections } = this;
    return {
      nodes,
      budget,
      connections,
      kernels,
      reportDamage: (damage) => this.damages.push(damage),
      ...more,
    };
  }

  /** Codes and stores a chunk; shard i lies on node 1 + (first + i) mod nodes. */
  addChunk(data: Uint8Array, { k, m }: Geometry = { k: 4, m: 2 }, first = 0): ChunkLocation {
    const id = randomUUID();
    const shardLength = shardSize(data.byteLength, k);
    const padded = new Uint8Array(shardLength * k);
    padded.set(data);
    const dataShards = Array.from({ length: k }, (_, i) =>
      padded.slice(i * shardLength, (i + 1) * shardLength),
    );
    const all = [...dataShards, ...kernels.rs.encodeBytes({ k, m }, dataShards)];
    const shards = all.map((bytes, index): ShardLocation => {
      const node = (first + index) % this.stores.length;
      (this.stores[node] as MemoryShardStore).shards.set(
        shardKey(id, index, 0),
        bytes as Uint8Array<ArrayBuffer>,
      );
      return {
        index,
        nodeId: nodeId(node + 1),
        generation: 0,
        hash: kernels.blake3.hash(bytes),
        stored: true,
      };
    });
    const contentHash = kernels.blake3.hash(data);
    return { id, dataShards: k, parityShards: m, length: data.byteLength, shardLength, contentHash, shards };
  }

  /** Removes everything from a node, counted from 1. */
  wipe(node: number): void {
    this.stores[node - 1]?.shards.clear();
  }

  /** The stored bytes of a shard, to damage them in place. */
  shard(chunk: ChunkLocation, index: number): Uint8Array<ArrayBuffer> {
    const bytes = this.storeOf(chunk, index).shards.get(keyOf(chunk, index));
    if (bytes === undefined) throw new Error(`shard ${index} is gone`);
    return bytes;
  }

  replaceShard(chunk: ChunkLocation, index: number, bytes: Uint8Array | undefined): void {
    const { shards } = this.storeOf(chunk, index);
    if (bytes === undefined) shards.delete(keyOf(chunk, index));
    else shards.set(keyOf(chunk, index), new Uint8Array(bytes));
  }

  storeOf(chunk: ChunkLocation, index: number): MemoryShardStore {
    const { nodeId: id } = chunk.shards[index] as ShardLocation;
    return this.stores[Number(id.slice(-2)) - 1] as MemoryShardStore;
  }
}

function keyOf(chunk: ChunkLocation, index: number): string {
  return shardKey(chunk.id, index, (chunk.shards[index] as ShardLocation).generation);
}

export function nodeId(number: number): string {
  return `00000000-0000-4000-8000-0000000000${String(number).padStart(2, "0")}`;
}

/** An item over some bytes of one chunk. */
export function itemAt(
  index: number,
  chunk: ChunkLocation,
  data: Uint8Array,
  offset: number,
  length: number,
): LocatedItem {
  const extents: Extent[] = length === 0 ? [] : [{ chunk, chunkOffset: offset, objectOffset: 0, length }];
  return {
    index,
    size: length,
    contentHash: kernels.blake3.hash(data.subarray(offset, offset + length)),
    extents,
  };
}

/** Consecutive items of the given sizes that fill chunks of `chunkBytes`; those that do not fit any more go over to the next. */
export function packItems(
  cluster: Cluster,
  sizes: readonly number[],
  chunkBytes: number,
  geometry?: Geometry,
): { items: LocatedItem[]; contents: Uint8Array[] } {
  const items: LocatedItem[] = [];
  const contents: Uint8Array[] = [];
  const total = sizes.reduce((sum, size) => sum + size, 0);
  const data = cluster.random.bytes(total);
  const chunks: { chunk: ChunkLocation; start: number }[] = [];
  for (let start = 0, i = 0; start < total; start += chunkBytes, i++) {
    chunks.push({
      start,
      chunk: cluster.addChunk(data.subarray(start, Math.min(total, start + chunkBytes)), geometry, i),
    });
  }
  let at = 0;
  sizes.forEach((size, index) => {
    const content = data.subarray(at, at + size);
    const extents: Extent[] = [];
    for (let done = 0; done < size;) {
      const place = chunks[Math.floor((at + done) / chunkBytes)] as (typeof chunks)[number];
      const chunkOffset = at + done - place.start;
      const length = Math.min(size - done, chunkBytes - chunkOffset);
      extents.push({ chunk: place.chunk, chunkOffset, objectOffset: done, length });
      done += length;
    }
    items.push({ index, size, contentHash: kernels.blake3.hash(content), extents });
    contents.push(content);
    at += size;
  });
  return { items, contents };
}
