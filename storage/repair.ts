import type { ChunkLocation, ShardLocation } from "../core/erasure/location.ts";
import { replacementNode } from "../core/erasure/placement.ts";
import { DataStreamError } from "../core/errors.ts";
import type { DamagedShard, RepairCatalog, RepairTask } from "../core/repair-catalog.ts";
import { auditShard } from "./heal.ts";
import type { StorageNode } from "./nodes.ts";
import { RangeMemory } from "./range-memory.ts";
import { rebuildShards } from "./rebuild-shards.ts";
import { shardKey } from "./shard-key.ts";
import { type ReadDeps, ShardReader } from "./shard-reader.ts";

/** A worker that died leaves its tasks to others after this. */
const LEASE_MS = 10 * 60_000;

export type RepairDeps = Omit<ReadDeps, "reportDamage" | "refreshChunk"> & {
  readonly repairs: RepairCatalog;
};

export interface RepairedShard {
  readonly chunkId: string;
  readonly shardIndex: number;
  readonly generation: number;
  /** Name of the node that holds the new copy. */
  readonly node: string;
  readonly hash: Uint8Array;
}

export interface RepairReport {
  /** Shards written anew. */
  readonly repaired: number;
  /** Shards that were reported but are whole. */
  readonly acquitted: number;
  /** Shards put off. */
  readonly failed: number;
  /** Shards that still wait, those put off included. */
  readonly remaining: number;
  readonly shards: readonly RepairedShard[];
  /** Why shards were put off, a line for each chunk; names chunks and nodes. */
  readonly failures: readonly string[];
}

/**
 * Rewrites up to `maxShards` damaged shards, degraded writes first. A copy counts when it was read back and has
 * its hash. May be killed at any point and run again, also beside another worker: every attempt writes
 * under a key of its own, and one conditional statement decides.
 * @throws what the catalog throws; trouble with a single chunk is counted and put off.
 */
export async function drainRepairs(
  deps: RepairDeps,
  { maxShards, signal }: { readonly maxShards: number; readonly signal?: AbortSignal },
): Promise<RepairReport> {
  const counts = { acquitted: 0, failed: 0 };
  const shards: RepairedShard[] = [];
  const failures: string[] = [];
  for (const task of await deps.repairs.lease(maxShards, LEASE_MS)) {
    const open = new Set(task.shardIndices);
    try {
      await repairChunk(deps, task, signal, (index, repaired) => {
        open.delete(index);
        if (repaired === undefined) counts.acquitted++;
        else shards.push(repaired);
      });
    } catch (thrown) {
      const error = DataStreamError.from(thrown);
      // Neither a cancelled nor a crashed worker can put anything off; the lease ends by itself.
      if (error.code === "canceled" || error.code === "internal") throw thrown;
      failures.push(error.message);
      await deps.repairs.postpone(task.chunk.id, [...open]);
      counts.failed += open.size;
    }
  }
  return {
    repaired: shards.length,
    ...counts,
    remaining: await deps.repairs.countWaiting(),
    shards,
    failures,
  };
}

async function repairChunk(
  deps: RepairDeps,
  { chunk: located, shardIndices }: RepairTask,
  signal: AbortSignal | undefined,
  done: (index: number, repaired?: RepairedShard) => void,
): Promise<void> {
  const { repairs, budget } = deps;
  const memory = new RangeMemory(budget);
  const damages: DamagedShard[] = [];
  const reader = new ShardReader({ ...deps, reportDamage: (damage) => damages.push(damage) }, signal);

  // A report may be false, or the copy may have come late: look before writing.
  const asIfStored = withStored(located, shardIndices);
  const missing: number[] = [];
  for (const index of shardIndices) {
    if (!(await auditShard(reader, memory, asIfStored, index, signal))) missing.push(index);
    else {
      await repairs.acquit(located.id, index, shardAt(located, index).generation);
      done(index);
    }
  }
  if (missing.length === 0) return;

  const wait = signal === undefined ? {} : { signal };
  const lease = await budget.acquire(located.shardLength * missing.length, wait);
  try {
    const rebuilt = await rebuildShards(reader, memory, located, missing, signal);
    for (const index of missing) {
      const { generation: fromGeneration, hash } = shardAt(located, index);
      const node = targetNode(deps, located, index);
      const move = await repairs.begin({
        chunkId: located.id,
        shardIndex: index,
        fromGeneration,
        nodeId: node.id,
      });
      await writeShard(deps, node, move.toGeneration, located, index, rebuilt.get(index) as Uint8Array);
      const written = {
        ...shardAt(located, index),
        nodeId: node.id,
        generation: move.toGeneration,
        stored: true,
      };
      const moved = { ...located, shards: located.shards.with(index, written) };
      if (!(await auditShard(reader, memory, moved, index, signal))) {
        throw unavailable(
          `Storage node ${node.name} did not keep shard ${index} of chunk ${located.id}.`,
          node,
        );
      }
      if (!(await repairs.commit(move))) {
        throw unavailable(
          `Shard ${index} of chunk ${located.id} was moved by somebody else meanwhile.`,
          node,
        );
      }
      done(index, {
        chunkId: located.id,
        shardIndex: index,
        generation: move.toGeneration,
        node: node.name,
        hash,
      });
    }
  } finally {
    lease.release();
    // Sources found damaged on the way; the shards of this very task are queued already.
    const others = damages.filter(({ shardIndex }) => !shardIndices.includes(shardIndex));
    await repairs.queue(others, "read");
  }
}

/** The shard's node, or where it drains the best that holds no other shard of the chunk. */
function targetNode({ nodes, kernels }: RepairDeps, chunk: ChunkLocation, index: number): StorageNode {
  const own = nodes.get(shardAt(chunk, index).nodeId);
  if (own?.state === "live") return own;
  const live = [...nodes.values()].filter(({ state }) => state === "live").map(({ id }) => id);
  const inUse = new Set(chunk.shards.filter((shard) => shard.index !== index).map(({ nodeId }) => nodeId));
  const id = replacementNode(chunk.id, live, inUse, kernels.blake3);
  const node = id === undefined ? undefined : nodes.get(id);
  if (node !== undefined) return node;
  throw unavailable(`No live storage node is free for shard ${index} of chunk ${chunk.id}: add one.`, own);
}

async function writeShard(
  { connections }: RepairDeps,
  node: StorageNode,
  generation: number,
  chunk: ChunkLocation,
  index: number,
  bytes: Uint8Array,
): Promise<void> {
  const outcome = await connections.run(() => node.store.put(shardKey(chunk.id, index, generation), bytes));
  if (outcome === "exists") {
    throw unavailable(
      `Storage node ${node.name} holds a shard of chunk ${chunk.id} that nobody named.`,
      node,
    );
  }
}

function withStored(chunk: ChunkLocation, indices: readonly number[]): ChunkLocation {
  const shards = chunk.shards.map((shard) =>
    indices.includes(shard.index) ? { ...shard, stored: true } : shard,
  );
  return { ...chunk, shards };
}

function shardAt(chunk: ChunkLocation, index: number): ShardLocation {
  return chunk.shards[index] as ShardLocation;
}

function unavailable(message: string, node: StorageNode | undefined): DataStreamError {
  return new DataStreamError(
    "unavailable",
    message,
    node === undefined ? {} : { details: { node: node.name } },
  );
}
