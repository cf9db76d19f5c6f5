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

/** Read buffers that an isolate keeps for reuse, oldest first. */
class BufferPool {
  readonly #buffers: ArrayBuffer[] = [];
  #bytes = 0;

  /** The smallest kept buffer that is neither too small nor wastefully large, or a new one. */
  take(capacity: number): ArrayBuffer {
    let best = -1;
    for (let i = 0; i < this.#buffers.length; i++) {
      const size = (this.#buffers[i] as ArrayBuffer).byteLength;
      if (size < capacity || size > capacity * 1.25) continue;
      if (best < 0 || size < (this.#buffers[best] as ArrayBuffer).byteLength) best = i;
    }
    if (best < 0) return new ArrayBuffer(capacity);
    const [buffer] = this.#buffers.splice(best, 1) as [ArrayBuffer];
    this.#bytes -= buffer.byteLength;
    return buffer;
  }

  /** A transferred buffer, of a read that failed half-way, has no bytes left and is dropped. */
  keep(buffer: ArrayBuffer): void {
    if (buffer.byteLength < POOLED_MIN_BYTES) return;
    this.#buffers.push(buffer);
    this.#bytes += buffer.byteLength;
    // Sizes that nobody asks for any more leave the pool.
    while (this.#bytes > READ_POOL_BYTES) this.#bytes -= (this.#buffers.shift() as ArrayBuffer).byteLength;
  }
}

/** One of each in an isolate, whatever budgets its work is charged to. */
const POOL = new BufferPool();
const RESERVE = new ByteBudget(READ_RESERVE_BYTES);

/**
 * Memory for reads, charged to a budget. Reading ahead takes from the budget what is free and never waits.
 * A read that a stream cannot do without may instead wait for a reserve beside all budgets: whoever
 * holds a part of the reserve waits for nothing but the read itself, so holders always finish,
 * whatever the streams hold meanwhile.
 */
export class RangeMemory {
  readonly #budget: ByteBudget;

  constructor(budget: ByteBudget) {
    this.#budget = budget;
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
    return this.#budget.tryAcquire(bytes) ?? (await RESERVE.acquire(bytes, options));
  }

  #buffer(lease: BudgetLease): RangeBuffer {
    let free = false;
    const buffer: RangeBuffer = {
      bytes: new Uint8Array(POOL.take(lease.bytes)),
      capacity: lease.bytes,
      free: () => {
        if (free) return;
        free = true;
        lease.release();
        POOL.keep(buffer.bytes.buffer);
      },
    };
    return buffer;
  }
}
