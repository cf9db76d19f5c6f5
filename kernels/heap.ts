import { DataStreamError } from "../core/errors.ts";

/** Every region starts and ends at a multiple of this: a cache line, and four SIMD vectors. */
export const HEAP_ALIGNMENT = 64;

/** A piece of kernel memory. It stays where it is until it is freed, and is not cleared. */
export interface Region {
  readonly pointer: number;
  /** As asked for; the heap may have set more aside. */
  readonly byteLength: number;
  readonly view: Uint8Array<ArrayBuffer>;
  /** Gives the memory back. A second call throws `internal`; views and pointers must not be used after the first. */
  free(): void;
}

interface Span {
  start: number;
  end: number;
}

/**
 * First-fit allocator over a fixed range of the kernels' memory. The free spans are kept
 * in order of address and neighbours are joined at once, so that a free needs no later sweep.
 */
export class Heap {
  readonly #bytes: Uint8Array<ArrayBuffer>;
  readonly #free: Span[];
  #freeBytes: number;
  readonly capacity: number;

  /** Manages the aligned part of `bytes` from `start` to `end`. */
  constructor(bytes: Uint8Array<ArrayBuffer>, start: number, end: number) {
    this.#bytes = bytes;
    const span = { start: roundUp(start), end: end - (end % HEAP_ALIGNMENT) };
    this.#free = span.end > span.start ? [span] : [];
    this.#freeBytes = Math.max(0, span.end - span.start);
    this.capacity = this.#freeBytes;
  }

  get freeBytes(): number {
    return this.#freeBytes;
  }

  /** The largest request that would succeed now. */
  get largestFreeBytes(): number {
    return this.#free.reduce((largest, span) => Math.max(largest, span.end - span.start), 0);
  }

  /** The first free span that holds `byteLength` bytes (at least 0), or undefined when there is none. */
  tryAllocate(byteLength: number): Region | undefined {
    if (!Number.isSafeInteger(byteLength) || byteLength < 0) {
      throw new DataStreamError("internal", "A heap region needs a whole, non-negative number of bytes.");
    }
    // Even an empty region takes a line, so that no two regions share an address.
    const size = Math.max(HEAP_ALIGNMENT, roundUp(byteLength));
    const index = this.#free.findIndex((span) => span.end - span.start >= size);
    const span = this.#free[index];
    if (span === undefined) return undefined;
    const start = span.start;
    span.start += size;
    if (span.start === span.end) this.#free.splice(index, 1);
    this.#freeBytes -= size;

    let live = true;
    return {
      pointer: start,
      byteLength,
      view: this.#bytes.subarray(start, start + byteLength),
      free: () => {
        if (!live) throw new DataStreamError("internal", "A heap region was freed twice.");
        live = false;
        this.#release(start, start + size);
      },
    };
  }

  #release(start: number, end: number): void {
    let low = 0;
    let high = this.#free.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#free[middle] as Span).start < start) low = middle + 1;
      else high = middle;
    }
    const before = this.#free[low - 1];
    const after = this.#free[low];
    if (before?.end === start && after?.start === end) {
      before.end = after.end;
      this.#free.splice(low, 1);
    } else if (before?.end === start) {
      before.end = end;
    } else if (after?.start === end) {
      after.start = start;
    } else {
      this.#free.splice(low, 0, { start, end });
    }
    this.#freeBytes += end - start;
  }
}

function roundUp(bytes: number): number {
  return Math.ceil(bytes / HEAP_ALIGNMENT) * HEAP_ALIGNMENT;
}
