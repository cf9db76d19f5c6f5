/**
 * Garbage collection: what aborted and lapsed uploads, replaced parts, dropped objects and repairs left behind.
 *
 * A chunk that nothing references is condemned first, by a conditional statement that a concurrent commit either
 * beats or fails against. Its shards go after the grace, which lets running reads end and late puts arrive, and the
 * chunk counts as deleted only when every node has confirmed. What a node did not confirm is tried again next time.
 */
import { GC_GRACE_MS } from "../core/limits.ts";
import type { GarbageCatalog, ShardToDelete } from "../core/write-catalog.ts";
import type { ConnectionGate } from "./connections.ts";
import type { StorageNodes } from "./nodes.ts";
import { shardKey } from "./shard-key.ts";

export interface GarbageDeps {
  readonly catalog: GarbageCatalog;
  readonly nodes: StorageNodes;
  readonly connections: ConnectionGate;
}

export interface GarbageOptions {
  /** Milliseconds since 1970. */
  readonly now: number;
  /** Between the end of a lease and condemning, and again between condemning and deleting. Default `GC_GRACE_MS`. */
  readonly graceMs?: number;
  /** Most rows that each step handles, so that a call is bounded. Default 500. */
  readonly limit?: number;
}

export interface GarbageReport {
  readonly abortedUploads: number;
  readonly deletedObjects: number;
  readonly condemnedChunks: number;
  readonly deletedChunks: number;
  /** Keys whose deletion a node confirmed. */
  readonly deletedShards: number;
  /** Rows of deleted chunks and of uploads that ended long ago. */
  readonly prunedRows: number;
  /** Names of nodes that did not confirm; what they hold stays condemned. */
  readonly failedNodes: readonly string[];
  /** Whether a step met its limit: another call has more to do. */
  readonly hasMore: boolean;
}

const LIMIT_DEFAULT = 500;
/** Keys of one delete call; R2 takes as many (https://developers.cloudflare.com/r2/api/workers/workers-api-reference/). */
const KEYS_PER_DELETE = 1000;

/** Runs every step once. A crash between two steps, or within one, loses nothing: the next call goes on. */
export async function collectGarbage(deps: GarbageDeps, options: GarbageOptions): Promise<GarbageReport> {
  const { catalog } = deps;
  const { graceMs = GC_GRACE_MS, limit = LIMIT_DEFAULT } = options;
  const now = new Date(options.now);
  const before = new Date(options.now - graceMs);

  const abortedUploads = await catalog.abortExpiredUploads(now, limit);
  const staged = await catalog.deleteStagedObjects(limit);
  const dropped = await catalog.deleteDroppedObjects(limit);
  const lapsed = await catalog.condemnLapsedIntents(before, now, limit);
  const loose = await catalog.condemnLooseChunks(now, limit);

  const condemned = await catalog.findCondemnedChunks(before, limit);
  const retired = await catalog.findRetiredShards(before, limit);
  const deletion = await deleteShards(deps, [...[...condemned.values()].flat(), ...retired]);
  const gone = [...condemned].filter(([, shards]) => shards.every((shard) => deletion.deleted.has(shard)));
  const deletedChunks = gone.length === 0 ? 0 : await catalog.markDeleted(gone.map(([chunkId]) => chunkId));
  const retiredGone = retired.filter((shard) => deletion.deleted.has(shard));
  if (retiredGone.length > 0) await catalog.forgetRetiredShards(retiredGone);
  const prunedRows = await catalog.prune(new Date(options.now - 2 * graceMs), limit);

  const steps = [abortedUploads, staged, dropped, lapsed, loose, condemned.size, retired.length, prunedRows];
  return {
    abortedUploads,
    deletedObjects: staged + dropped,
    condemnedChunks: lapsed + loose,
    deletedChunks,
    deletedShards: deletion.deleted.size,
    prunedRows,
    failedNodes: deletion.failedNodes,
    hasMore: steps.some((count) => count >= limit),
  };
}

async function deleteShards(
  { nodes, connections }: GarbageDeps,
  shards: readonly ShardToDelete[],
): Promise<{ deleted: Set<ShardToDelete>; failedNodes: string[] }> {
  const deleted = new Set<ShardToDelete>();
  const failed = new Set<string>();
  const deletions = [...Map.groupBy(shards, ({ nodeId }) => nodeId)].flatMap(([nodeId, ofNode]) => {
    const node = nodes.get(nodeId);
    return batches(ofNode).map(async (batch) => {
      const keys = batch.map(({ chunkId, index, generation }) => shardKey(chunkId, index, generation));
      try {
        if (node === undefined) throw new RangeError("The node is not known here.");
        await connections.run(() => node.store.delete(keys));
        for (const shard of batch) deleted.add(shard);
      } catch {
        // Perhaps deleted, perhaps not: only a confirmation counts.
        failed.add(node?.name ?? nodeId);
      }
    });
  });
  await Promise.all(deletions);
  return { deleted, failedNodes: [...failed].toSorted() };
}

function batches(shards: readonly ShardToDelete[]): (readonly ShardToDelete[])[] {
  const count = Math.ceil(shards.length / KEYS_PER_DELETE);
  return Array.from({ length: count }, (_, i) =>
    shards.slice(i * KEYS_PER_DELETE, (i + 1) * KEYS_PER_DELETE),
  );
}
