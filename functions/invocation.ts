/** What belongs to one invocation of the Worker or a Durable Object: its connections, and what it found damaged. */
import { refreshChunk } from "../catalog/locate.ts";
import { ConnectionGate } from "../storage/connections.ts";
import type { ReadDeps } from "../storage/shard-reader.ts";
import type { Deps } from "./deps.ts";
import { errorFields } from "./log.ts";

export interface Invocation {
  /** Six at once for reads and writes together; counts every call. */
  readonly connections: ConnectionGate;
  readonly reads: ReadDeps;
}

/** @param waitUntil keeps the invocation alive for work that no answer waits for. */
export function openInvocation(deps: Deps, waitUntil: (work: Promise<unknown>) => void): Invocation {
  const connections = new ConnectionGate();
  const { sql, nodes, kernels, budget, chunks, log } = deps;
  return {
    connections,
    reads: {
      nodes,
      kernels,
      budget,
      connections,
      refreshChunk: (chunkId) => refreshChunk(sql, chunkId, chunks),
      reportDamage(damage) {
        log.warn("damaged_shard", {
          chunk_id: damage.chunkId,
          shard_index: damage.shardIndex,
          generation: damage.generation,
          reason: damage.reason,
        });
        // TEMPORARY: until catalog/repair.ts exists.
        waitUntil(Promise.resolve().catch((error: unknown) => log.error("queue_repair", errorFields(error))));
      },
    },
  };
}
