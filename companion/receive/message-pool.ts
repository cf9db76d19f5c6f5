import { RECEIVE_POOL_BYTES } from "../../core/limits.ts";
import { canceled } from "../../client/backoff.ts";

/** Shared memory on loan. What it holds is only valid until it is released. */
export interface PooledBuffer {
  /** At least as large as asked for; its bytes beyond what the holder wrote are of earlier messages. */
  readonly buffer: SharedArrayBuffer;
  /** Gives it back; a second call has no effect. */
  release(): void;
}

interface Waiter {
  readonly byteLength: number;
  readonly resolve: (buffer: PooledBuffer) => void;
}

const SMALLEST_BYTES = 64 * 1024;

/**
 * Memory for received messages that every thread of the process can read, bounded in bytes and used again: fresh
 * memory costs a page fault for every 4 KiB. Whoever finds it full waits, in the order of asking. One buffer is lent
 * when none is out, however large it is, so that no message is too large to go on.
 */
export class MessagePool {
  readonly #limit: number;
  /** By capacity. */
  readonly #idle = new Map<number, SharedArrayBuffer[]>();
  readonly #waiting: Waiter[] = [];
  #idleBytes = 0;
  #heldBytes = 0;

  /** @param limitBytes of memory in all, lent or kept for reuse. */
  constructor(limitBytes: number = RECEIVE_POOL_BYTES) {
    this.#limit = limitBytes;
  }

  /** Bytes that are out on loan. */
  get heldBytes(): number {
    return this.#heldBytes;
  }

  /** A buffer now, or undefined where that would pass the limit or the turn of those who wait. */
  tryAcquire(byteLength: number): PooledBuffer | undefined {
    return this.#waiting.length === 0 && this.#fits(byteLength) ? this.#lend(byteLength) : undefined;
  }

  /** @throws DataStreamError `canceled` when the signal aborts first. */
  acquire(byteLength: number, signal?: AbortSignal): Promise<PooledBuffer> {
    const now = this.tryAcquire(byteLength);
    if (now !== undefined) return Promise.resolve(now);
    return new Promise((resolve, reject) => {
      const onAbort = (): void => {
        this.#waiting.splice(this.#waiting.indexOf(waiter), 1);
        reject(canceled());
        this.#serve();
      };
      const waiter: Waiter = {
        byteLength,
        resolve: (buffer) => {
          signal?.removeEventListener("abort", onAbort);
          resolve(buffer);
        },
      };
      if (signal?.aborted === true) {
        reject(canceled());
        return;
      }
      signal?.addEventListener("abort", onAbort, { once: true });
      this.#waiting.push(waiter);
    });
  }

  #fits(byteLength: number): boolean {
    return this.#heldBytes === 0 || this.#heldBytes + capacityOf(byteLength) <= this.#limit;
  }

  #lend(byteLength: number): PooledBuffer {
    const capacity = capacityOf(byteLength);
    const buffer = this.#takeIdle(capacity) ?? this.#allocate(capacity);
    this.#heldBytes += capacity;
    let lent = true;
    return {
      buffer,
      release: () => {
        if (!lent) return;
        lent = false;
        this.#takeBack(buffer);
      },
    };
  }

  #takeIdle(capacity: number): SharedArrayBuffer | undefined {
    const buffer = this.#idle.get(capacity)?.pop();
    if (buffer !== undefined) this.#idleBytes -= capacity;
    return buffer;
  }

  /** Buffers of other sizes make room. */
  #allocate(capacity: number): SharedArrayBuffer {
    for (const [size, buffers] of this.#idle) {
      while (this.#heldBytes + this.#idleBytes + capacity > this.#limit && buffers.pop() !== undefined)
        this.#idleBytes -= size;
    }
    return new SharedArrayBuffer(capacity);
  }

  #takeBack(buffer: SharedArrayBuffer): void {
    const capacity = buffer.byteLength;
    this.#heldBytes -= capacity;
    if (this.#heldBytes + this.#idleBytes + capacity <= this.#limit) {
      this.#idleBytes += capacity;
      const buffers = this.#idle.get(capacity);
      if (buffers === undefined) this.#idle.set(capacity, [buffer]);
      else buffers.push(buffer);
    }
    this.#serve();
  }

  #serve(): void {
    for (let next = this.#waiting[0]; next !== undefined; next = this.#waiting[0]) {
      if (!this.#fits(next.byteLength)) return;
      this.#waiting.shift();
      next.resolve(this.#lend(next.byteLength));
    }
  }
}

/** Rounded up to four sizes in each power of two: messages of about the same length share buffers, a quarter is the most that is wasted. */
function capacityOf(byteLength: number): number {
  if (byteLength <= SMALLEST_BYTES) return SMALLEST_BYTES;
  const step = 2 ** (Math.floor(Math.log2(byteLength - 1)) - 2);
  return Math.ceil(byteLength / step) * step;
}
