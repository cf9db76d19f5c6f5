/** What belongs to one invocation of the Worker or a Durable Object: its connections, and what it found damaged. */
import { refreshChunk } from "../catalog/locate.ts";
import { queueRepair, repairCatalog } from "../catalog/repair.ts";
import { writeCatalog } from "../catalog/write-catalog.ts";
import type { WriteCatalog } from "../core/write-catalog.ts";
import { ConnectionGate } from "../storage/connections.ts";
import type { RepairDeps } from "../storage/repair.ts";
import { shardKey } from "../storage/shard-key.ts";
import type { Damage, ReadDeps } from "../storage/shard-reader.ts";
import type { UploadDeps } from "../storage/uploads/deps.ts";
import type { Deps } from "./deps.ts";
import { errorFields } from "./log.ts";

/** Everything here counts against the same six connections. */
export interface Invocation {
  readonly connections: ConnectionGate;
  readonly reads: ReadDeps;
  /** Uploads and garbage collection. */
  readonly writes: UploadDeps & { readonly catalog: WriteCatalog };
  readonly repairs: RepairDeps;
}

/** @param waitUntil keeps the invocation alive for work that no answer waits for. */
export function openInvocation(deps: Deps, waitUntil: (work: Promise<unknown>) => void): Invocation {
  const { sql, nodes, kernels, budget, chunks, clock, config } = deps;
  const connections = new ConnectionGate();
  const storage = { nodes, kernels, budget, connections };
  return {
    connections,
    reads: {
      ...storage,
      refreshChunk: (chunkId) => refreshChunk(sql, chunkId, chunks),
      reportDamage: damageReporter(deps, waitUntil),
    },
    writes: { ...storage, catalog: writeCatalog(sql), clock, uploadLeaseMs: config.uploadLeaseMs },
    repairs: { ...storage, repairs: repairCatalog(sql) },
  };
}

/** Shards that one log line names. */
const LOGGED_SHARDS = 20;

/** Queues repairs behind the read that found the damage: what is found during one query is the next one's batch. */
function damageReporter(
  { sql, log }: Deps,
  waitUntil: (work: Promise<unknown>) => void,
): (damage: Damage) => void {
  const found: Damage[] = [];
  let running = false;
  const drain = async (): Promise<void> => {
    try {
      while (found.length > 0) {
        const batch = found.splice(0);
        const shards = batch.slice(0, LOGGED_SHARDS).map(nameOf);
        log.warn("damaged_shards", { count: batch.length, shards });
        await queueRepair(sql, batch);
      }
    } catch (error) {
      // Nothing is lost: the next read of the shard reports it again.
      log.error("queue_repair", errorFields(error));
    } finally {
      running = false;
    }
  };
  return (damage) => {
    found.push(damage);
    if (running) return;
    running = true;
    waitUntil(Promise.resolve().then(drain));
  };
}

function nameOf({ chunkId, shardIndex, generation, reason }: Damage): string {
  return `${shardKey(chunkId, shardIndex, generation)} ${reason}`;
}
