/** One chunk: coded into shards in kernel memory, put to its nodes, and counted against the write quorum. */
import { rankNodes } from "../core/erasure/placement.ts";
import { DataStreamError } from "../core/errors.ts";
import type { ChunkIntent, WrittenChunk } from "../core/write-catalog.ts";
import type { Geometry, Kernels, Region } from "../kernels/index.ts";
import type { BudgetLease, ByteBudget } from "./byte-budget.ts";
import type { ConnectionGate } from "./connections.ts";
import type { StorageNode, StorageNodes } from "./nodes.ts";
import { shardKey } from "./shard-key.ts";

export interface ChunkWriterDeps {
  readonly nodes: StorageNodes;
  readonly kernels: Kernels;
  readonly connections: ConnectionGate;
}

/**
 * Memory for one chunk and its parity, held under a lease of the isolate's budget. The data shards are one region,
 * so that a chunk is hashed and filled as one; each parity shard is a region of its own, which a fragmented heap
 * grants sooner.
 */
export class ChunkBuffer {
  readonly geometry: Geometry;
  /** Largest shard that fits. */
  readonly shardCapacity: number;
  readonly #data: Region;
  readonly #parity: readonly Region[];
  readonly #lease: BudgetLease;

  private constructor(
    geometry: Geometry,
    shardCapacity: number,
    regions: readonly Region[],
    lease: BudgetLease,
  ) {
    this.geometry = geometry;
    this.shardCapacity = shardCapacity;
    [this.#data, ...this.#parity] = regions as [Region, ...Region[]];
    this.#lease = lease;
  }

  /** Waits for memory. @throws `resource_exhausted`, `canceled` */
  static async acquire(
    deps: { readonly kernels: Kernels; readonly budget: ByteBudget },
    geometry: Geometry,
    shardCapacity: number,
    signal?: AbortSignal,
  ): Promise<ChunkBuffer> {
    const { k, m } = geometry;
    const lease = await deps.budget.acquire((k + m) * shardCapacity, signal === undefined ? {} : { signal });
    const regions: Region[] = [];
    for (const bytes of [k * shardCapacity, ...Array.from({ length: m }, () => shardCapacity)]) {
      const region = deps.kernels.heap.tryAllocate(bytes);
      if (region === undefined) {
        for (const allocated of regions) allocated.free();
        lease.release();
        throw new DataStreamError(
          "resource_exhausted",
          "The gateway is busy: its memory is fragmented. Try again shortly.",
        );
      }
      regions.push(region);
    }
    return new ChunkBuffer(geometry, shardCapacity, regions, lease);
  }

  /** Room for the chunk's data. Holds what was there before: see `writeChunk`. */
  get data(): Uint8Array<ArrayBuffer> {
    return this.#data.view;
  }

  /** Addresses of the k+m shards, data first, of a chunk with shards of this length. */
  pointers(shardLength: number): number[] {
    const data = Array.from({ length: this.geometry.k }, (_, i) => this.#data.pointer + i * shardLength);
    return [...data, ...this.#parity.map(({ pointer }) => pointer)];
  }

  /** No put of these bytes may be under way any more. */
  release(): void {
    this.#data.free();
    for (const region of this.#parity) region.free();
    this.#lease.release();
  }
}

/**
 * Names a new chunk and the nodes of its shards. Draining nodes come last: they are named where there are too few
 * others, but get no shard, so that the chunk starts degraded and its repair moves on when there are nodes.
 * @throws `unavailable` when too few nodes take writes for the quorum.
 */
export function planChunk({ nodes, kernels }: ChunkWriterDeps, { k, m }: Geometry): ChunkIntent {
  const id = crypto.randomUUID();
  const inState = (state: StorageNode["state"]): string[] =>
    rankNodes(
      id,
      [...nodes.values()].filter((node) => node.state === state).map((node) => node.id),
      kernels.blake3,
    );
  const live = inState("live");
  const nodeIds = [...live, ...inState("draining")].slice(0, k + m);
  if (live.length <= k || nodeIds.length < k + m) {
    throw new DataStreamError(
      "unavailable",
      `A chunk of ${k}+${m} shards needs ${k + m} storage nodes, ${k + 1} of which take writes; there are ${nodes.size}, ${live.length} of which do.`,
      { details: { needed: k + 1, available: live.length } },
    );
  }
  return { id, dataShards: k, parityShards: m, nodeIds };
}

/**
 * Codes and stores the first `length` bytes of the buffer as the intended chunk. Returns when every put has settled,
 * so the buffer may be reused then, whatever the outcome.
 * @param contentHash BLAKE3 of those bytes.
 * @throws `unavailable` when fewer than k+1 shards could be stored.
 */
export async function writeChunk(
  deps: ChunkWriterDeps,
  buffer: ChunkBuffer,
  intent: ChunkIntent,
  chunk: { readonly length: number; readonly shardLength: number; readonly contentHash: Uint8Array },
): Promise<WrittenChunk> {
  const { k, m } = buffer.geometry;
  const { length, shardLength } = chunk;
  const { kernels } = deps;
  buffer.data.fill(0, length, k * shardLength);
  const pointers = buffer.pointers(shardLength);
  kernels.rs.encode({ k, m }, pointers.slice(0, k), pointers.slice(k), shardLength);
  const hashes = kernels.hashMany(
    pointers,
    pointers.map(() => shardLength),
  );
  const outcomes = await Promise.all(
    pointers.map((pointer, index) => {
      const node = deps.nodes.get(intent.nodeIds[index] as string);
      const bytes = kernels.bytes.subarray(pointer, pointer + shardLength);
      return putShard(deps.connections, node, shardKey(intent.id, index, 0), bytes);
    }),
  );
  const stored = outcomes.filter(Boolean).length;
  if (stored < k + 1) throw quorumMissed(deps.nodes, intent, outcomes, k + 1);
  return {
    id: intent.id,
    ...chunk,
    shards: outcomes.map((outcome, index) => ({
      hash: hashes.slice(index * 32, index * 32 + 32),
      stored: outcome,
    })),
  };
}

/**
 * Puts a shard under a key that nobody used before, with one more try after an error.
 *
 * A key that exists on the first try holds bytes of unknown origin: the shard counts as missing. On the second try
 * it was most likely the first put, whose answer was lost; nodes store a shard whole or not at all, and chunk ids are
 * random, so the right size tells that it is ours.
 * @returns whether the node has the shard. Never rejects.
 */
async function putShard(
  connections: ConnectionGate,
  node: StorageNode | undefined,
  key: string,
  bytes: Uint8Array,
): Promise<boolean> {
  if (node === undefined || node.state === "draining") return false;
  const put = async (): Promise<"created" | "exists" | "failed"> => {
    try {
      return await connections.run(() => node.store.put(key, bytes));
    } catch {
      return "failed";
    }
  };
  const first = await put();
  if (first !== "failed") return first === "created";
  const second = await put();
  if (second !== "exists") return second === "created";
  try {
    return (await connections.run(() => node.store.size(key))) === bytes.length;
  } catch {
    return false;
  }
}

function quorumMissed(
  nodes: StorageNodes,
  intent: ChunkIntent,
  outcomes: readonly boolean[],
  quorum: number,
): DataStreamError {
  const failed = intent.nodeIds.filter((_, index) => !outcomes[index]).map((id) => nodes.get(id)?.name ?? id);
  return new DataStreamError(
    "unavailable",
    `A chunk needs ${quorum} of ${outcomes.length} storage nodes; ${failed.join(", ")} did not take their shards. Try again shortly.`,
    { details: { needed: quorum, stored: outcomes.length - failed.length, nodes: failed } },
  );
}
