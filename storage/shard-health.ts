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

  /** Nothing has failed so far. */
  get isClean(): boolean {
    return this.#lost.size === 0 && this.#avoided.size === 0;
  }

  /** Shards known to be missing or lying. */
  get lostShards(): number {
    return this.#lost.size;
  }

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

  /** Whether reads should do without the node where they can. */
  isAvoided(nodeId: string): boolean {
    return this.#avoided.has(nodeId);
  }

  /** A read did without the node. After enough of them it gets another chance. */
  addPass(nodeId: string): void {
    const left = this.#avoided.get(nodeId);
    if (left === undefined) return;
    if (left > 1) this.#avoided.set(nodeId, left - 1);
    else this.#avoided.delete(nodeId);
  }
}
