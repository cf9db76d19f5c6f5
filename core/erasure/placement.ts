/** Which storage nodes hold a chunk's shards. */
import { compareBytes } from "../bytes.ts";
import { DataStreamError } from "../errors.ts";
import type { Blake3 } from "../ports.ts";
import { compareUtf8, utf8 } from "../text.ts";

const CONTEXT = "cyxcloud-datastream 2026-11 shard placement v1";

/**
 * Nodes in order of preference for a chunk, by rendezvous hashing (Thaler and Ravishankar, 1998): every node has a
 * pseudo-random score for every chunk. Chunks spread evenly, and adding or removing a node changes the choice
 * only for chunks that it wins or held. Deterministic, and independent of the order of `nodeIds`.
 */
export function rankNodes(chunkId: string, nodeIds: Iterable<string>, blake3: Blake3): string[] {
  const scored = Array.from(nodeIds, (id) => ({
    id,
    // The separator cannot be in either id, so no two pairs have the same text.
    score: blake3.deriveKey(CONTEXT, utf8(`${chunkId}\n${id}`)),
  }));
  scored.sort((a, b) => compareBytes(b.score, a.score) || compareUtf8(a.id, b.id));
  return scored.map(({ id }) => id);
}

/**
 * The `count` nodes for the shards 0…count−1 of a chunk, all different.
 * @param nodeIds nodes that take writes.
 * @throws `unavailable` when there are fewer than `count`.
 */
export function placeShards(
  chunkId: string,
  nodeIds: Iterable<string>,
  count: number,
  blake3: Blake3,
): string[] {
  const ranked = rankNodes(chunkId, new Set(nodeIds), blake3);
  if (ranked.length >= count) return ranked.slice(0, count);
  throw new DataStreamError(
    "unavailable",
    `A chunk needs ${count} storage nodes and ${ranked.length} take writes. Add nodes, or wait until they are back.`,
    { details: { needed: count, available: ranked.length } },
  );
}

/** The best node for a shard that has to move: one that holds no other shard of the chunk, or undefined. */
export function replacementNode(
  chunkId: string,
  nodeIds: Iterable<string>,
  inUse: ReadonlySet<string>,
  blake3: Blake3,
): string | undefined {
  return rankNodes(chunkId, nodeIds, blake3).find((id) => !inUse.has(id));
}
