/** Reads that pass a failing node by before it is asked again. */
const PROBATION_READS = 64;

/**
 * What one invocation learned about nodes and shards, so that a dead node is not asked again for
 * every range. It forgets nothing about shards (a repaired one has another key) and gives a node
 * another chance after a while.
 */
export class ShardHealth {
  readonly #lost = new Set<string>();
  readonly #avoided = new Map<string, number>();

  /** The shard under this key is missing or lies. False when that was known. */
  addLost(key: string): boolean {
    if (this.#lost.has(key)) return false;
    this.#lost.add(key);
    return true;
  }

  isLost(key: string): boolean {
    return this.#lost.has(key);
  }

  /** A call to the node failed, which tells nothing about its shards. */
  addFailure(nodeId: string): void {
    this.#avoided.set(nodeId, PROBATION_READS);
  }

  addSuccess(nodeId: string): void {
    if (this.#avoided.size > 0) this.#avoided.delete(nodeId);
  }

  /** Whether reads should do without the node where they can. Every call counts towards its next chance. */
  isAvoided(nodeId: string): boolean {
    const left = this.#avoided.get(nodeId);
    if (left === undefined) return false;
    if (left === 0) this.#avoided.delete(nodeId);
    else this.#avoided.set(nodeId, left - 1);
    return left > 0;
  }
}
