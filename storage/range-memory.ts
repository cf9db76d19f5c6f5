import { READ_POOL_BYTES, READ_RESERVE_BYTES } from "../core/limits.ts";
import { ByteBudget, type BudgetLease } from "./byte-budget.ts";

/** Below this an allocation costs less than keeping it. */
const POOLED_MIN_BYTES = 64 * 1024;

/** Memory for the bytes of one read. */
export interface RangeBuffer {
  /** What to read into; a read may transfer it, so put the array it answers with in its place. */
  bytes: Uint8Array<ArrayBuffer>;
  /** What the budget is charged: the whole buffer, whatever part of it is used. */
  readonly capacity: number;
  /** Gives the memory back. A second call has no effect. */
  free(): void;
}

/**
 * Read buffers of an isolate. Reading ahead takes from the budget what is free and never waits.
 * A read that a stream cannot do without may instead wait for a reserve beside the budget: whoever
 * holds a part of the reserve waits for nothing but the read itself, so holders always finish,
 * whatever the streams hold meanwhile.
 */
export class RangeMemory {
  static readonly #byBudget = new WeakMap<ByteBudget, RangeMemory>();
  readonly #budget: ByteBudget;
  readonly #reserve = new ByteBudget(READ_RESERVE_BYTES);
  readonly #pool: ArrayBuffer[] = [];
  #pooledBytes = 0;

  constructor(budget: ByteBudget) {
    this.#budget = budget;
  }

  /** The one that belongs to an isolate's budget. */
  static of(budget: ByteBudget): RangeMemory {
    let memory = this.#byBudget.get(budget);
    if (memory === undefined) this.#byBudget.set(budget, (memory = new RangeMemory(budget)));
    return memory;
  }

  /** Bytes of the reserve in use. */
  get reservedBytes(): number {
    return this.#reserve.usedBytes;
  }

  /** What a buffer for `length` bytes is charged at most. */
  capacityFor(length: number): number {
    return length < POOLED_MIN_BYTES ? length : Math.ceil(length / POOLED_MIN_BYTES) * POOLED_MIN_BYTES;
  }

  /** Undefined when the budget has not enough left now. */
  tryTake(length: number): RangeBuffer | undefined {
    const lease = this.#budget.tryAcquire(this.capacityFor(length));
    return lease && this.#buffer(lease);
  }

  /**
   * Waits for memory that is needed to go on; free it before waiting for anything else but the read.
   * @throws DataStreamError `resource_exhausted` after the waiting time, `canceled` when the signal aborts.
   */
  async take(length: number, signal?: AbortSignal): Promise<RangeBuffer> {
    return this.#buffer(await this.lease(this.capacityFor(length), signal));
  }

  /** The same for memory that the caller allocates; at most the reserve, `READ_RESERVE_BYTES`. */
  async lease(bytes: number, signal?: AbortSignal): Promise<BudgetLease> {
    const options = signal === undefined ? {} : { signal };
    return this.#budget.tryAcquire(bytes) ?? (await this.#reserve.acquire(bytes, options));
  }

  #buffer(lease: BudgetLease): RangeBuffer {
    let free = false;
    const buffer: RangeBuffer = {
      bytes: new Uint8Array(this.#allocate(lease.bytes)),
      capacity: lease.bytes,
      free: () => {
        if (free) return;
        free = true;
        lease.release();
        this.#recycle(buffer.bytes.buffer);
      },
    };
    return buffer;
  }

  /** The smallest pooled buffer that is neither too small nor wastefully large. */
  #allocate(capacity: number): ArrayBuffer {
    let best = -1;
    for (let i = 0; i < this.#pool.length; i++) {
      const size = (this.#pool[i] as ArrayBuffer).byteLength;
      if (size < capacity || size > capacity * 1.25) continue;
      if (best < 0 || size < (this.#pool[best] as ArrayBuffer).byteLength) best = i;
    }
    if (best < 0) return new ArrayBuffer(capacity);
    const [buffer] = this.#pool.splice(best, 1) as [ArrayBuffer];
    this.#pooledBytes -= buffer.byteLength;
    return buffer;
  }

  /** A transferred buffer, of a read that failed half-way, has no bytes left and is dropped. */
  #recycle(buffer: ArrayBuffer): void {
    if (buffer.byteLength < POOLED_MIN_BYTES) return;
    this.#pool.push(buffer);
    this.#pooledBytes += buffer.byteLength;
    // The oldest go first: sizes that nobody asks for any more leave the pool.
    while (this.#pooledBytes > READ_POOL_BYTES)
      this.#pooledBytes -= (this.#pool.shift() as ArrayBuffer).byteLength;
  }
}
