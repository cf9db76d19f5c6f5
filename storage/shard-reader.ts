import type { ChunkLocation, ShardLocation } from "../core/erasure/location.ts";
import { DataStreamError } from "../core/errors.ts";
import type { DamagedShard } from "../core/repair-catalog.ts";
import type { Kernels } from "../kernels/index.ts";
import type { ByteBudget } from "./byte-budget.ts";
import type { ConnectionGate } from "./connections.ts";
import type { StorageNodes } from "./nodes.ts";
import { shardKey } from "./shard-key.ts";

export type { DamagedShard as Damage } from "../core/repair-catalog.ts";

export interface ReadDeps {
  readonly nodes: StorageNodes;
  readonly kernels: Kernels;
  readonly budget: ByteBudget;
  readonly connections: ConnectionGate;
  /** Called once for each damaged shard in an invocation. Must not throw. */
  reportDamage(damage: DamagedShard): void;
  /** Looks a chunk up again, past every cache; undefined when it is gone. Without it a moved shard counts as lost. */
  readonly refreshChunk?: (chunkId: string) => Promise<ChunkLocation | undefined>;
}

/**
 * Reads ranges of single shards: asks the right node, within the invocation's connections, and remembers
 * what failed. Bytes are NOT verified here; whoever reads them checks a hash and comes back with `accuse`.
 */
export class ShardReader {
  readonly deps: ReadDeps;
  readonly #signal: AbortSignal | undefined;
  /** Chunks that were looked up again, because a shard was not where the caller's location said. */
  readonly #refreshed = new Map<string, Promise<ChunkLocation | undefined>>();
  readonly #current = new Map<string, ChunkLocation>();

  constructor(deps: ReadDeps, signal?: AbortSignal) {
    this.deps = deps;
    this.#signal = signal;
  }

  throwIfCanceled(): void {
    if (this.#signal?.aborted === true) {
      throw new DataStreamError("canceled", "The read was cancelled.");
    }
  }

  /** The latest location known: the caller's, unless the chunk was looked up again since. */
  current(chunk: ChunkLocation): ChunkLocation {
    return this.#current.get(chunk.id) ?? chunk;
  }

  /** Whether the shard is known to be missing or lying. */
  isLost(chunk: ChunkLocation, index: number): boolean {
    const shard = this.current(chunk).shards[index];
    return shard === undefined || !shard.stored || this.deps.connections.health.isLost(keyOf(chunk, shard));
  }

  /** Whether a rebuild is better than asking for this shard: it is lost, or its node fails. */
  isBypassed(chunk: ChunkLocation, index: number): boolean {
    if (this.isLost(chunk, index)) return true;
    const shard = this.current(chunk).shards[index] as ShardLocation;
    return this.deps.connections.health.isAvoided(shard.nodeId);
  }

  /** The same, and counts towards the next chance of a failing node when the answer is yes. */
  passBy(chunk: ChunkLocation, index: number): boolean {
    if (!this.isBypassed(chunk, index)) return false;
    const { nodeId } = this.current(chunk).shards[index] ?? {};
    if (nodeId !== undefined) this.deps.connections.health.addPass(nodeId);
    return true;
  }

  /**
   * Reads a range of one shard into the memory of `into`.
   * @returns undefined when the shard is missing (which is reported) or its node does not answer.
   * @throws DataStreamError `canceled` when the signal has aborted.
   */
  async read(
    chunk: ChunkLocation,
    index: number,
    offset: number,
    length: number,
    into: Uint8Array<ArrayBuffer>,
  ): Promise<Uint8Array<ArrayBuffer> | undefined> {
    const { connections, nodes } = this.deps;
    const shard = this.current(chunk).shards[index];
    const node = shard && nodes.get(shard.nodeId);
    if (shard === undefined || node === undefined) return undefined;
    let bytes: Uint8Array<ArrayBuffer> | undefined;
    const capacity = into.byteLength;
    try {
      bytes = await connections.run(() => {
        this.throwIfCanceled();
        return node.store.read(keyOf(chunk, shard), offset, length, into);
      });
      connections.health.addSuccess(shard.nodeId);
    } catch (thrown) {
      this.throwIfCanceled();
      if (!(thrown instanceof DataStreamError) || thrown.code !== "unavailable") throw thrown;
      connections.health.addFailure(shard.nodeId);
      return undefined;
    }
    this.throwIfCanceled();
    if (bytes !== undefined) return bytes;

    const moved = (await this.refresh(chunk))?.shards[index];
    if (moved !== undefined && keyOf(chunk, moved) !== keyOf(chunk, shard)) {
      // The failed read may have taken `into` with it.
      const again = into.buffer.byteLength > 0 ? into : new Uint8Array(capacity);
      return this.read(chunk, index, offset, length, again);
    }
    this.#addDamage(chunk, shard, "missing");
    return undefined;
  }

  /** The shard's bytes were proven wrong. */
  accuse(chunk: ChunkLocation, index: number): void {
    const shard = this.current(chunk).shards[index];
    if (shard !== undefined) this.#addDamage(chunk, shard, "corrupt");
  }

  #addDamage(chunk: ChunkLocation, shard: ShardLocation, reason: DamagedShard["reason"]): void {
    const { connections } = this.deps;
    if (!connections.health.addLost(keyOf(chunk, shard))) return;
    this.deps.reportDamage({
      chunkId: chunk.id,
      shardIndex: shard.index,
      generation: shard.generation,
      reason,
    });
  }

  /**
   * Looks the chunk up again, once: repair may have moved shards after the caller's look-up.
   * Undefined when that is not possible; a failure of the catalog must not fail a read that can do without.
   */
  async refresh(chunk: ChunkLocation): Promise<ChunkLocation | undefined> {
    const { refreshChunk } = this.deps;
    if (refreshChunk === undefined) return undefined;
    let refreshed = this.#refreshed.get(chunk.id);
    if (refreshed === undefined) {
      refreshed = refreshChunk(chunk.id).then(
        (found) => {
          if (found !== undefined) this.#current.set(chunk.id, found);
          return found;
        },
        () => undefined,
      );
      this.#refreshed.set(chunk.id, refreshed);
    }
    return refreshed;
  }

  /** Shards to rebuild from, best first; shards of failing nodes come last, lost ones not at all. */
  sources(chunk: ChunkLocation, except: number): number[] {
    const good: number[] = [];
    const doubtful: number[] = [];
    for (const { index } of chunk.shards) {
      if (index === except || this.isLost(chunk, index)) continue;
      (this.isBypassed(chunk, index) ? doubtful : good).push(index);
    }
    return [...good, ...doubtful];
  }

  /** The error for a chunk of which fewer than k shards can be read. */
  lossOf(chunk: ChunkLocation): DataStreamError {
    const { shards, dataShards, parityShards } = this.current(chunk);
    const nodeName = ({ nodeId }: ShardLocation): string => this.deps.nodes.get(nodeId)?.name ?? nodeId;
    const lost = shards.filter(({ index }) => this.isLost(chunk, index));
    const total = dataShards + parityShards;
    if (lost.length > parityShards) {
      const nodes = lost.map(nodeName);
      return new DataStreamError(
        "data_loss",
        `Chunk ${chunk.id} has lost ${lost.length} of its ${total} shards, on ${nodes.join(", ")}; any ${dataShards} would do.`,
        { details: { chunk: chunk.id, nodes, lost: lost.length, needed: dataShards } },
      );
    }
    const nodes = shards.filter(({ index }) => this.isBypassed(chunk, index)).map(nodeName);
    return new DataStreamError(
      "unavailable",
      `Chunk ${chunk.id} cannot be read now: too many of its nodes (${nodes.join(", ")}) do not answer. Try again.`,
      { details: { chunk: chunk.id, nodes } },
    );
  }

  /** The error for a chunk whose shards are what was stored, but not what the catalog says they hold. */
  contradictionIn(chunk: ChunkLocation): DataStreamError {
    return new DataStreamError(
      "data_loss",
      `Chunk ${chunk.id}: its shards fit their hashes but not the hash of what was stored in them.`,
      { details: { chunk: chunk.id, nodes: [] } },
    );
  }
}

function keyOf(chunk: ChunkLocation, shard: ShardLocation): string {
  return shardKey(chunk.id, shard.index, shard.generation);
}
