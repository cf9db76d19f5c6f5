import type { ChunkLocation, LocatedItem } from "../core/erasure/location.ts";
import { DataStreamError } from "../core/errors.ts";
import { type ItemPiece, type PlannedRead, planReads } from "../core/stream/read-plan.ts";
import { healItem } from "./heal.ts";
import { ItemVerifier } from "./item-verifier.ts";
import { type RangeBuffer, RangeMemory } from "./range-memory.ts";
import { readRange } from "./rebuild.ts";
import { type ReadDeps, ShardReader } from "./shard-reader.ts";
import { StripeSources } from "./stripe-sources.ts";

export type { ReadDeps } from "./shard-reader.ts";

export interface ItemWindowOptions {
  /** Ends every wait with `canceled`. */
  readonly signal: AbortSignal;
  /** Bytes of read buffers that the window may hold before `fill` asks for them; it takes only what is free. */
  readonly readAheadBytes: number;
}

/** Verified bytes of a run of items. */
export interface ItemWindow {
  /**
   * Copies item `first + i` into `destinations[i]` (exactly its size, best in kernel memory, where it is
   * hashed in place) and checks its BLAKE3. Calls ascend and never overlap; an item is delivered once.
   * When it rejects, the destinations hold anything.
   * @throws DataStreamError `data_loss` naming chunk and nodes, `unavailable`, `canceled`,
   *   `resource_exhausted` when no memory became free in time.
   */
  fill(first: number, destinations: readonly Uint8Array[]): Promise<void>;
  /** Frees all memory and stops reading. Call it always; more than once has no effect. */
  close(): void;
}

/**
 * Starts to read `items` in their order, at most six ranges at a time, and delivers them verified.
 * A missing or lying shard is rebuilt on the way from the same ranges of others and reported once.
 */
export function openItemWindow(
  deps: ReadDeps,
  items: readonly LocatedItem[],
  options: ItemWindowOptions,
): ItemWindow {
  return new Window(deps, items, options);
}

/** `idle` reads are not begun, or were lost on the way and are rebuilt by the `fill` that needs them. */
type ReadState = "idle" | "loading" | "ready" | "delivered";

/** One read of the plan and its bytes while somebody needs them. */
export interface WindowRead extends PlannedRead<ChunkLocation> {
  state: ReadState;
  /** Pieces of items that were not delivered yet. */
  pending: number;
  /** Rebuilds at work that use the bytes. */
  pins: number;
  buffer: RangeBuffer | undefined;
  /** Settles when `state` is no longer `loading`; never rejects. */
  settled: Promise<void> | undefined;
  wake: (() => void) | undefined;
  error: unknown;
  /** Being rebuilt from other reads, so none of those may wait for it. */
  rebuilding: boolean;
  /** Begun before its turn, as a source for rebuilds: its memory does not count as read ahead. */
  early: boolean;
}

class Window implements ItemWindow {
  readonly #items: readonly LocatedItem[];
  readonly #reads: WindowRead[];
  readonly #pieces: readonly (readonly ItemPiece[])[];
  readonly #reader: ShardReader;
  readonly #memory: RangeMemory;
  readonly #verifier: ItemVerifier;
  readonly #stripes: StripeSources;
  readonly #readAheadBytes: number;
  readonly #openMax: number;
  readonly #stop = new AbortController();
  readonly #outerSignal: AbortSignal;
  readonly #onAbort = (): void => this.#halt();
  #nextAhead = 0;
  #loading = 0;
  #heldBytes = 0;

  constructor(deps: ReadDeps, items: readonly LocatedItem[], options: ItemWindowOptions) {
    const plan = planReads<ChunkLocation>(items);
    this.#items = items;
    this.#pieces = plan.pieces;
    this.#reads = plan.reads.map(idle);
    for (const pieces of plan.pieces) for (const { read } of pieces) this.#readAt(read).pending++;
    this.#reader = new ShardReader(deps, this.#stop.signal);
    this.#memory = new RangeMemory(deps.budget);
    this.#verifier = new ItemVerifier(deps.kernels);
    this.#stripes = new StripeSources(this.#reader, this.#memory, this.#reads, {
      start: (read) => this.#tryStart(read, true),
      adopt: (read) => this.#begin(read, true),
      settle: (read, loaded) => this.#settle(read, loaded, undefined),
      release: (read) => this.#release(read),
      retainBytes: options.readAheadBytes / 2,
    });
    this.#readAheadBytes = options.readAheadBytes;
    this.#openMax = deps.connections.limit;
    this.#outerSignal = options.signal;
    if (options.signal.aborted) this.#halt();
    else options.signal.addEventListener("abort", this.#onAbort, { once: true });
    this.#readAhead();
  }

  async fill(first: number, destinations: readonly Uint8Array[]): Promise<void> {
    const direct = new Set<WindowRead>();
    const mismatched: number[] = [];
    for (let i = 0; i < destinations.length; i++) {
      const destination = destinations[i] as Uint8Array;
      const item = this.#items[first + i];
      if (item === undefined || destination.byteLength !== item.size) {
        throw new DataStreamError(
          "internal",
          `Item ${first + i} of the window does not fit its destination.`,
        );
      }
      for (const piece of this.#pieces[first + i] as readonly ItemPiece[]) {
        const read = this.#readAt(piece.read);
        if (direct.has(read)) continue;
        if (read.state !== "ready") {
          if (!(await this.#require(read))) {
            direct.add(read);
            await this.#deliverDirectly(piece.read, read, first, i, destinations);
            continue;
          }
        }
        const bytes = (read.buffer as RangeBuffer).bytes;
        destination.set(bytes.subarray(piece.readOffset, piece.readOffset + piece.length), piece.itemOffset);
        this.#delivered(read, 1);
      }
      // While the bytes are in the cache.
      this.#verifier.add(i, destination, item.contentHash, mismatched);
    }
    this.#verifier.flush(mismatched);
    if (mismatched.length > 0) await this.#heal(first, mismatched, destinations);
    this.#throwIfStopped();
  }

  close(): void {
    this.#outerSignal.removeEventListener("abort", this.#onAbort);
    this.#halt();
  }

  #halt(): void {
    if (this.#stop.signal.aborted) return;
    this.#stop.abort();
    for (const read of this.#reads) {
      // What a running call writes to is freed when that call settles.
      if (read.state === "loading") read.wake?.();
      else this.#free(read);
    }
  }

  #throwIfStopped(): void {
    if (this.#stop.signal.aborted) throw new DataStreamError("canceled", "The read was cancelled.");
  }

  #readAt(number: number): WindowRead {
    return this.#reads[number] as WindowRead;
  }

  /** Begins reads in their order while connections and the allowance last. */
  #readAhead(): void {
    while (this.#loading < this.#openMax && this.#nextAhead < this.#reads.length) {
      const read = this.#readAt(this.#nextAhead);
      if (read.state === "idle" && read.pending > 0) {
        const bytes = this.#memory.capacityFor(read.length);
        if (this.#heldBytes > 0 && this.#heldBytes + bytes > this.#readAheadBytes) return;
        if (!this.#tryStart(read)) return;
      }
      this.#nextAhead++;
    }
  }

  /** False when there is no memory for it now, or nobody wants it any more. */
  #tryStart(read: WindowRead, early = false): boolean {
    const buffer = this.#begin(read, early);
    if (buffer === undefined) return false;
    void this.#load(read, buffer).then(
      (loaded) => this.#settle(read, loaded, undefined),
      (error: unknown) => this.#settle(read, false, error),
    );
    return true;
  }

  /** Takes memory for a read; whoever calls this has to settle it. */
  #begin(read: WindowRead, early: boolean): RangeBuffer | undefined {
    if (this.#stop.signal.aborted) return undefined;
    const buffer = this.#memory.tryTake(read.length);
    if (buffer === undefined) return undefined;
    read.buffer = buffer;
    read.state = "loading";
    read.early = early;
    if (!early) this.#heldBytes += buffer.capacity;
    this.#loading++;
    const { promise, resolve } = Promise.withResolvers<void>();
    read.settled = promise;
    read.wake = resolve;
    return buffer;
  }

  async #load(read: WindowRead, buffer: RangeBuffer): Promise<boolean> {
    const { chunk, shardIndex, offset, length } = read;
    if (!this.#reader.passBy(chunk, shardIndex)) {
      const bytes = await this.#reader.read(chunk, shardIndex, offset, length, buffer.bytes);
      if (bytes !== undefined) buffer.bytes = bytes;
      // The shard may have been found to lie meanwhile.
      if (bytes !== undefined && !this.#reader.isLost(chunk, shardIndex)) return true;
      // A read that failed half-way may have taken the memory with it.
      const { buffer: left } = buffer.bytes;
      buffer.bytes = new Uint8Array(left.byteLength > 0 ? left : new ArrayBuffer(buffer.capacity));
    }
    return this.#stripes.rebuild(read, buffer);
  }

  #settle(read: WindowRead, loaded: boolean, error: unknown): void {
    this.#loading--;
    read.error = error;
    if (loaded && !this.#stop.signal.aborted) read.state = "ready";
    else {
      read.state = "idle";
      this.#free(read);
    }
    read.wake?.();
    this.#readAhead();
  }

  /** Waits for a read's bytes, and begins it when there is memory. False when it has to do without. */
  async #require(read: WindowRead): Promise<boolean> {
    this.#throwIfStopped();
    if (read.state === "idle" && read.error === undefined) this.#tryStart(read);
    if (read.state === "loading") await read.settled;
    this.#throwIfStopped();
    if (read.error !== undefined) throw read.error;
    return read.state === "ready";
  }

  /** Finds the bytes of items that do not fit their hashes, one at a time until a liar is known, the rest without it. */
  async #heal(
    first: number,
    mismatched: readonly number[],
    destinations: readonly Uint8Array[],
  ): Promise<void> {
    const { deps } = this.#reader;
    const { signal } = this.#stop;
    const itemAt = (i: number): LocatedItem => this.#items[first + i] as LocatedItem;
    for (const [done, i] of mismatched.entries()) {
      this.#throwIfStopped();
      const known = deps.connections.health.lostShards;
      const destination = destinations[i] as Uint8Array;
      await this.#untilStopped(healItem(this.#reader, this.#memory, itemAt(i), destination, signal));
      if (deps.connections.health.lostShards === known) continue;

      this.#dropLying();
      const rest = mismatched.slice(done + 1);
      const window = new Window(deps, rest.map(itemAt), { signal, readAheadBytes: this.#readAheadBytes });
      try {
        return await window.fill(
          0,
          rest.map((each) => destinations[each] as Uint8Array),
        );
      } finally {
        window.close();
      }
    }
  }

  /** Bytes that were read from a shard before it was found to lie are not worth another heal. */
  #dropLying(): void {
    for (const read of this.#reads) {
      if (read.state !== "ready" || read.pins > 0) continue;
      if (!this.#reader.isLost(read.chunk, read.shardIndex)) continue;
      read.state = read.pending > 0 ? "idle" : "delivered";
      this.#free(read);
    }
  }

  /** Gets what this `fill` needs of a read through the reserve, because the budget has no room for all of it. */
  async #deliverDirectly(
    number: number,
    read: WindowRead,
    first: number,
    from: number,
    destinations: readonly Uint8Array[],
  ): Promise<void> {
    const wanted: { readonly piece: ItemPiece; readonly destination: Uint8Array }[] = [];
    let start = read.length;
    let end = 0;
    for (let i = from; i < destinations.length; i++) {
      for (const piece of this.#pieces[first + i] as readonly ItemPiece[]) {
        if (piece.read !== number) continue;
        // A long item's earlier pieces of this read cannot have been delivered: it was not ready.
        wanted.push({ piece, destination: destinations[i] as Uint8Array });
        start = Math.min(start, piece.readOffset);
        end = Math.max(end, piece.readOffset + piece.length);
      }
    }
    const { chunk, shardIndex: index } = read;
    const range = { chunk, index, offset: read.offset + start, length: end - start };
    const sink = (offset: number, bytes: Uint8Array): void => {
      const at = offset - read.offset;
      for (const { piece, destination } of wanted) {
        const low = Math.max(at, piece.readOffset);
        const high = Math.min(at + bytes.byteLength, piece.readOffset + piece.length);
        if (low < high) {
          destination.set(bytes.subarray(low - at, high - at), piece.itemOffset + low - piece.readOffset);
        }
      }
    };
    const { signal } = this.#stop;
    await this.#untilStopped(readRange(this.#reader, this.#memory, range, sink, { signal }));
    this.#delivered(read, wanted.length);
  }

  /** Ends the wait when the window stops; the work behind it ends by itself at its next step. */
  async #untilStopped<T>(work: Promise<T>): Promise<T> {
    const { signal } = this.#stop;
    const { promise, reject } = Promise.withResolvers<never>();
    const onAbort = (): void => reject(new DataStreamError("canceled", "The read was cancelled."));
    if (signal.aborted) onAbort();
    else signal.addEventListener("abort", onAbort, { once: true });
    try {
      return await Promise.race([work, promise]);
    } finally {
      signal.removeEventListener("abort", onAbort);
    }
  }

  #delivered(read: WindowRead, pieces: number): void {
    read.pending -= pieces;
    if (read.pending > 0) return;
    if (read.state === "ready" && this.#stripes.retains(read)) return;
    this.#release(read);
  }

  /** Frees a read that nobody needs, and uses the room. */
  #release(read: WindowRead): void {
    if (read.pending > 0 || read.pins > 0 || read.state === "loading") return;
    read.state = "delivered";
    this.#free(read);
    this.#readAhead();
  }

  #free(read: WindowRead): void {
    const { buffer } = read;
    if (buffer === undefined) return;
    read.buffer = undefined;
    if (!read.early) this.#heldBytes -= buffer.capacity;
    buffer.free();
  }
}

function idle(read: PlannedRead<ChunkLocation>): WindowRead {
  return {
    ...read,
    state: "idle",
    pending: 0,
    pins: 0,
    buffer: undefined,
    settled: undefined,
    wake: undefined,
    error: undefined,
    rebuilding: false,
    early: false,
  };
}
