import type { ChunkLocation, ShardLocation } from "../core/erasure/location.ts";
import type { DamagedShard } from "../core/repair-catalog.ts";
import { auditShard } from "./heal.ts";
import { RangeMemory } from "./range-memory.ts";
import type { RepairDeps } from "./repair.ts";
import { shardKey } from "./shard-key.ts";
import { ShardReader } from "./shard-reader.ts";

export interface ScrubOptions {
  /** Where the last call ended. */
  readonly afterChunkId?: string;
  /** Chunks to look at. */
  readonly limit: number;
  /** `size` asks each node for the length of each shard; `hash` reads every byte. */
  readonly depth: "size" | "hash";
  readonly signal?: AbortSignal;
}

export interface ScrubReport {
  readonly chunks: number;
  readonly shards: number;
  /** Shards found damaged and queued for repair. */
  readonly damaged: number;
  /** Shards whose node did not answer: nothing is known about them. */
  readonly unanswered: number;
  /** Give it as `afterChunkId` to go on; null at the end. */
  readonly nextChunkId: string | null;
}

/** Looks at every shard of some chunks that is believed to be stored, and queues what is damaged. */
export async function scrubChunks(deps: RepairDeps, options: ScrubOptions): Promise<ScrubReport> {
  const chunks = await deps.repairs.listChunks(options.afterChunkId, options.limit);
  const damages: DamagedShard[] = [];
  let shards = 0;
  let unanswered = 0;
  for (const chunk of chunks) {
    const stored = chunk.shards.filter((shard) => shard.stored);
    shards += stored.length;
    const states = await Promise.all(stored.map((shard) => examine(deps, chunk, shard, options)));
    stored.forEach((shard, i) => {
      const state = states[i];
      if (state === "unanswered") unanswered++;
      else if (state === "missing" || state === "corrupt") {
        const { index: shardIndex, generation } = shard;
        damages.push({ chunkId: chunk.id, shardIndex, generation, reason: state });
      }
    });
  }
  await deps.repairs.queue(damages, "scrub");
  const last = chunks.length < options.limit ? undefined : chunks.at(-1);
  return {
    chunks: chunks.length,
    shards,
    damaged: damages.length,
    unanswered,
    nextChunkId: last?.id ?? null,
  };
}

async function examine(
  deps: RepairDeps,
  chunk: ChunkLocation,
  shard: ShardLocation,
  { depth, signal }: ScrubOptions,
): Promise<"whole" | "missing" | "corrupt" | "unanswered"> {
  const node = deps.nodes.get(shard.nodeId);
  if (node === undefined) return "unanswered";
  try {
    const key = shardKey(chunk.id, shard.index, shard.generation);
    const size = await deps.connections.run(() => node.store.size(key));
    if (size === undefined) return "missing";
    if (size !== chunk.shardLength) return "corrupt";
  } catch {
    return "unanswered";
  }
  if (depth === "size") return "whole";
  const found: DamagedShard[] = [];
  const reader = new ShardReader({ ...deps, reportDamage: (damage) => found.push(damage) }, signal);
  if (await auditShard(reader, new RangeMemory(deps.budget), chunk, shard.index, signal)) return "whole";
  return found[0]?.reason ?? "unanswered";
}
