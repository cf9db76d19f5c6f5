/** What belongs to one invocation of the Worker or a Durable Object: its connections, and what it found damaged. */
import { refreshChunk } from "../catalog/locate.ts";
import { writeCatalog } from "../catalog/write-catalog.ts";
import { ConnectionGate } from "../storage/connections.ts";
import type { ReadDeps } from "../storage/shard-reader.ts";
import type { UploadDeps } from "../storage/uploads/deps.ts";
import type { Deps } from "./deps.ts";
import { errorFields } from "./log.ts";

export interface Invocation {
  /** Six at once for reads and writes together; counts every call. */
  readonly connections: ConnectionGate;
  readonly reads: ReadDeps;
  readonly writes: UploadDeps;
}

/** @param waitUntil keeps the invocation alive for work that no answer waits for. */
export function openInvocation(deps: Deps, waitUntil: (work: Promise<unknown>) => void): Invocation {
  const connections = new ConnectionGate();
  const { sql, nodes, kernels, budget, chunks, clock, log, config } = deps;
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
    writes: {
      catalog: writeCatalog(sql),
      nodes,
      kernels,
      budget,
      connections,
      clock,
      uploadLeaseMs: config.uploadLeaseMs,
    },
  };
}
