import { CONNECTIONS_PER_INVOCATION } from "../core/limits.ts";
import { ShardHealth } from "./shard-health.ts";

/**
 * What one invocation may do and knows about its storage nodes: how many calls it has open
 * (a Worker gets six connections, R2 included), how many it has made (the invocation budget),
 * and which nodes and shards failed it. Make one for each invocation.
 */
export class ConnectionGate {
  readonly limit: number;
  readonly health: ShardHealth = new ShardHealth();
  readonly #waiting: (() => void)[] = [];
  #open = 0;
  #peak = 0;
  #calls = 0;

  constructor(limit: number = CONNECTIONS_PER_INVOCATION) {
    this.limit = limit;
  }

  /** Store calls begun since construction. */
  get calls(): number {
    return this.#calls;
  }

  /** Highest number of calls open at once since construction. */
  get peak(): number {
    return this.#peak;
  }

  get open(): number {
    return this.#open;
  }

  /**
   * Runs one store call when a connection is free, first come first served. The connection is
   * free again when the task settles, whichever way; so a task must read its response to the end.
   * A task must not call `run` itself.
   */
  async run<T>(task: () => Promise<T>): Promise<T> {
    if (this.#open >= this.limit) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    else this.#open++;
    this.#calls++;
    this.#peak = Math.max(this.#peak, this.#open);
    try {
      return await task();
    } finally {
      // A waiter inherits the slot, so that nobody can overtake it.
      const next = this.#waiting.shift();
      if (next === undefined) this.#open--;
      else next();
    }
  }
}
