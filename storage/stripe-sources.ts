import { concatBytes } from "../core/bytes.ts";
import type { WindowRead } from "./item-window.ts";
import type { RangeBuffer, RangeMemory } from "./range-memory.ts";
import type { ShardReader } from "./shard-reader.ts";

interface WindowSide {
  /** Begins an idle read; false when there is no memory. */
  start(read: WindowRead): boolean;
  /** Takes memory for an idle read that is filled here; `settle` has to follow. */
  adopt(read: WindowRead): RangeBuffer | undefined;
  settle(read: WindowRead, loaded: boolean): void;
  /** Frees a read unless somebody needs it. */
  release(read: WindowRead): void;
  /** Bytes that may stay only because a rebuild will need them. */
  readonly retainBytes: number;
}

/**
 * Rebuilds lost reads of a window from reads that the window makes anyway, so that a stripe is fetched
 * once however many of its shards are lost: a sequential stream with two nodes down reads no more bytes
 * than a healthy one, as long as the memory for the stripes is there. It only reads ahead and never
 * waits for memory: where it gives up, `fill` rebuilds what it needs alone.
 */
export class StripeSources {
  readonly #reader: ShardReader;
  readonly #memory: RangeMemory;
  readonly #reads: readonly WindowRead[];
  readonly #window: WindowSide;
  /** Reads by chunk and shard, by offset; made when the first shard is found lost. Reads of a shard never overlap. */
  #byShard: Map<string, WindowRead[][]> | undefined;
  #retainedBytes = 0;
  readonly #retained = new Set<WindowRead>();

  constructor(reader: ShardReader, memory: RangeMemory, reads: readonly WindowRead[], window: WindowSide) {
    this.#reader = reader;
    this.#memory = memory;
    this.#reads = reads;
    this.#window = window;
  }

  /** Whether a delivered read should stay in memory for a rebuild to come. */
  retains(read: WindowRead): boolean {
    // Chunks without a lost shard, the rule, cost nothing here.
    if (!this.#isSource(read)) return false;
    const bytes = read.buffer?.capacity ?? 0;
    if (this.#retainedBytes + bytes > this.#window.retainBytes) return false;
    this.#retained.add(read);
    this.#retainedBytes += bytes;
    return true;
  }

  /**
   * Fills `buffer` with the read's bytes, and lost reads of the same range of other shards along with it.
   * False when too few sources or too little memory were at hand.
   */
  async rebuild(read: WindowRead, buffer: RangeBuffer): Promise<boolean> {
    const outputs = new Map([[read.shardIndex, { read, buffer }]]);
    for (const sibling of this.#lostSiblings(read)) {
      const memory = this.#window.adopt(sibling);
      if (memory !== undefined) outputs.set(sibling.shardIndex, { read: sibling, buffer: memory });
    }
    for (const output of outputs.values()) output.read.rebuilding = true;
    const pinned: WindowRead[] = [];
    const own: RangeBuffer[] = [];
    let rebuilt = false;
    try {
      rebuilt = await this.#combine(read, outputs, pinned, own);
    } finally {
      for (const each of own) each.free();
      for (const each of pinned) each.pins--;
      for (const output of outputs.values()) {
        output.read.rebuilding = false;
        if (output.read !== read) this.#window.settle(output.read, rebuilt);
      }
      // The reads of this range may have been kept for this rebuild alone. The read itself settles first.
      queueMicrotask(() => this.#releaseUnneeded(read));
    }
    return rebuilt;
  }

  async #combine(
    read: WindowRead,
    outputs: ReadonlyMap<number, { readonly buffer: RangeBuffer }>,
    pinned: WindowRead[],
    own: RangeBuffer[],
  ): Promise<boolean> {
    const { dataShards: k, parityShards: m } = read.chunk;
    const found = new Map<number, Uint8Array>();
    const candidates = this.#ranked(read).filter((index) => !outputs.has(index));
    while (found.size < k) {
      const wanted = candidates.splice(0, k - found.size);
      if (wanted.length + found.size < k) return false;
      const bytes = await Promise.all(
        wanted.map((index) => this.#source(read, index, pinned, own).catch(() => undefined)),
      );
      this.#reader.throwIfCanceled();
      wanted.forEach((index, i) => {
        const source = bytes[i];
        if (source !== undefined) found.set(index, source);
      });
    }
    const rebuilt = this.#reader.deps.kernels.rs.reconstructBytes({ k, m }, found, [...outputs.keys()]);
    for (const [index, { buffer }] of outputs) {
      buffer.bytes.set(rebuilt.get(index) as Uint8Array);
      buffer.bytes = new Uint8Array(buffer.bytes.buffer, 0, read.length);
    }
    return true;
  }

  /** Lost reads of exactly the same range of other shards: the same sources give all of them. */
  #lostSiblings(read: WindowRead): WindowRead[] {
    const { chunk, shardIndex, offset, length } = read;
    return chunk.shards.flatMap(({ index }) => {
      if (index === shardIndex || index >= chunk.dataShards || !this.#reader.isBypassed(chunk, index))
        return [];
      return this.#overlapping(read, index).filter(
        (each) =>
          each.state === "idle" && each.pending > 0 && each.offset === offset && each.length === length,
      );
    });
  }

  /** Sources with the cheapest first: bytes at hand, then reads to come, then reads made for this alone. */
  #ranked(read: WindowRead): number[] {
    const cost = (index: number): number => {
      const covering = this.#covering(read, index);
      if (covering === undefined) return 2;
      return covering.every(({ state }) => state !== "idle") ? 0 : 1;
    };
    return this.#reader
      .sources(read.chunk, read.shardIndex)
      .map((index) => ({ index, cost: cost(index) }))
      .toSorted((a, b) => a.cost - b.cost)
      .map(({ index }) => index);
  }

  async #source(
    read: WindowRead,
    index: number,
    pinned: WindowRead[],
    own: RangeBuffer[],
  ): Promise<Uint8Array | undefined> {
    const covering = this.#covering(read, index);
    if (covering !== undefined) {
      for (const each of covering) {
        each.pins++;
        pinned.push(each);
      }
      for (const each of covering) if (each.state === "idle") this.#window.start(each);
      for (const each of covering) if (each.state === "loading") await each.settled;
      if (covering.every(({ state }) => state === "ready")) return slice(covering, read);
      if (this.#reader.isLost(read.chunk, index)) return undefined;
    }
    const buffer = this.#memory.tryTake(read.length);
    if (buffer === undefined) return undefined;
    own.push(buffer);
    const bytes = await this.#reader.read(read.chunk, index, read.offset, read.length, buffer.bytes);
    if (bytes !== undefined) buffer.bytes = bytes;
    return bytes;
  }

  /** The window's own reads that hold the same range of another shard, without gaps; undefined when it has none. */
  #covering(read: WindowRead, index: number): WindowRead[] | undefined {
    const end = read.offset + read.length;
    let covered = read.offset;
    const covering = this.#overlapping(read, index);
    for (const each of covering) {
      if (each.state === "delivered" || each.error !== undefined || each.rebuilding) return undefined;
      if (each.offset > covered) return undefined;
      covered = each.offset + each.length;
    }
    return covered >= end ? covering : undefined;
  }

  #isSource(read: WindowRead): boolean {
    const isClean = this.#reader.deps.connections.health.isClean && everyStored(read);
    if (this.#byShard === undefined && isClean) return false;
    return read.chunk.shards.some(
      ({ index }) =>
        index !== read.shardIndex &&
        index < read.chunk.dataShards &&
        this.#reader.isBypassed(read.chunk, index) &&
        this.#overlapping(read, index).some(
          (lost) => lost.pending > 0 && (lost.rebuilding || lost.state === "idle"),
        ),
    );
  }

  /** A rebuild is over: frees what was kept for it and serves no other. */
  #releaseUnneeded(rebuilt: WindowRead): void {
    for (const { index } of rebuilt.chunk.shards) {
      for (const read of this.#overlapping(rebuilt, index)) {
        if (read.state !== "ready" || read.pending > 0 || read.pins > 0 || this.#isSource(read)) continue;
        if (this.#retained.delete(read)) this.#retainedBytes -= read.buffer?.capacity ?? 0;
        this.#window.release(read);
      }
    }
  }

  /** The reads of a shard that share bytes with the range of `read`, by offset. */
  #overlapping({ chunk, offset, length }: WindowRead, index: number): WindowRead[] {
    const row = this.#rowsOf(chunk.id)[index] ?? [];
    let low = 0;
    let high = row.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const { offset: start, length: bytes } = row[middle] as WindowRead;
      if (start + bytes <= offset) low = middle + 1;
      else high = middle;
    }
    let end = low;
    while (end < row.length && (row[end] as WindowRead).offset < offset + length) end++;
    return row.slice(low, end);
  }

  #rowsOf(chunkId: string): readonly (readonly WindowRead[])[] {
    if (this.#byShard === undefined) {
      this.#byShard = new Map();
      for (const read of this.#reads) {
        let rows = this.#byShard.get(read.chunk.id);
        if (rows === undefined) this.#byShard.set(read.chunk.id, (rows = []));
        (rows[read.shardIndex] ??= []).push(read);
      }
      for (const rows of this.#byShard.values())
        for (const row of rows) row?.sort((a, b) => a.offset - b.offset);
    }
    return this.#byShard.get(chunkId) ?? [];
  }
}

function everyStored(read: WindowRead): boolean {
  return read.chunk.shards.every(({ stored }) => stored);
}

/** The bytes of `range` out of adjacent or overlapping reads of one shard. */
function slice(reads: readonly WindowRead[], range: WindowRead): Uint8Array {
  const end = range.offset + range.length;
  const parts: Uint8Array[] = [];
  let at = range.offset;
  for (const { offset, length, buffer } of reads) {
    const stop = Math.min(end, offset + length);
    if (stop <= at) continue;
    parts.push((buffer as RangeBuffer).bytes.subarray(at - offset, stop - offset));
    at = stop;
  }
  return parts.length === 1 ? (parts[0] as Uint8Array) : concatBytes(parts);
}
