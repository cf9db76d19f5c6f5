/**
 * Where items lie in the chunks of a pack.
 *
 * The rule: no item that fits into a shard crosses a shard boundary, so reading it takes one range of one shard.
 * The size of the shards is only known when the chunk is sealed, and an item's offset before that, because items
 * stream. So shard sizes come from a ladder S, S/2, S/4… whose boundaries nest: an item stays clear of the
 * boundaries of every ladder size that could still be chosen and into which it fits. Sealing takes the least size
 * that holds what was placed, and then anything smaller that happens to cut no item.
 */
import { READ_MERGE_GAP_BYTES, SHARD_ALIGNMENT_BYTES } from "../limits.ts";

/** A full shard loses at most one part in so many to rounding, so that it can be halved often. */
const ROUNDING_PARTS = 16;

/** Shard size of a full chunk of a pack: capacity/k, rounded down so that it can be halved often. */
export function packShardSize(capacity: number, dataShards: number): number {
  const units = Math.floor(capacity / dataShards / SHARD_ALIGNMENT_BYTES);
  if (units < 1) throw new RangeError(`A chunk of ${capacity} bytes has no room for ${dataShards} shards.`);
  let step = 1;
  while (step * 2 * ROUNDING_PARTS <= units) step *= 2;
  return (units - (units % step)) * SHARD_ALIGNMENT_BYTES;
}

/** Part of an item that lies in this chunk. */
export interface Placed {
  /** From the start of the chunk's data. */
  readonly offset: number;
  /** Bytes of the item from where its last part ended: less than asked for when the chunk ends first. */
  readonly length: number;
}

export interface SealedChunk {
  /** Data bytes, padding between items included, zeros at the end not. */
  readonly chunkLength: number;
  readonly shardSize: number;
}

/** Lays out one chunk while items come; begin another when it is full. */
export class PackLayout {
  readonly dataShards: number;
  /** Bytes that this chunk can hold. */
  readonly capacity: number;
  /** Shard sizes that nest, ascending; the last is that of a full chunk. */
  readonly #ladder: readonly number[];
  readonly #starts: number[] = [];
  readonly #ends: number[] = [];
  #fill = 0;

  constructor(capacity: number, dataShards: number) {
    const largest = packShardSize(capacity, dataShards);
    const ladder = [largest];
    for (let size = largest / 2; size % SHARD_ALIGNMENT_BYTES === 0 && size > 0; size /= 2)
      ladder.unshift(size);
    this.#ladder = ladder;
    this.dataShards = dataShards;
    this.capacity = largest * dataShards;
  }

  /** Bytes up to the end of the last item. */
  get chunkLength(): number {
    return this.#fill;
  }

  get isEmpty(): boolean {
    return this.#starts.length === 0;
  }

  /**
   * Places `size` bytes after what is already there, perhaps with padding (zeros) before them.
   *
   * Up to the size of a full shard it is all or nothing. A larger item takes what room there is; place the rest of
   * it first into the next chunk.
   * @returns "full" when the chunk has no room: seal it. An empty chunk always has room. An offset that was
   * returned holds whatever comes after it.
   */
  place(size: number): Placed | "full" {
    const largest = this.#ladder.at(-1) as number;
    const offset = this.#offsetFor(size);
    let length = size;
    if (offset + size > this.capacity) {
      length = this.capacity - offset;
      // A sliver of a large item would cost a read of its own.
      if (size <= largest || length < Math.min(largest, READ_MERGE_GAP_BYTES)) return "full";
    }
    this.#starts.push(offset);
    this.#ends.push(offset + length);
    this.#fill = offset + length;
    return { offset, length };
  }

  /**
   * Fixes the shard size: the least of the ladder that holds the data, or a smaller multiple of 64 if no item that
   * fits into such a shard would be cut. The layout may not be used after it.
   */
  seal(): SealedChunk {
    const fromLadder = this.#ladder.find((size) => size * this.dataShards >= this.#fill) as number;
    const least =
      Math.max(1, Math.ceil(this.#fill / this.dataShards / SHARD_ALIGNMENT_BYTES)) * SHARD_ALIGNMENT_BYTES;
    for (let size = least; size < fromLadder; size += SHARD_ALIGNMENT_BYTES)
      if (!this.#cutsAny(size)) return { chunkLength: this.#fill, shardSize: size };
    return { chunkLength: this.#fill, shardSize: fromLadder };
  }

  #offsetFor(size: number): number {
    const end = this.#fill + size;
    const cell = this.#ladder.find((shard) => shard >= size && shard * this.dataShards >= end);
    // Larger than a shard, or past the end: nothing to keep clear of.
    if (cell === undefined) return this.#fill;
    const room = cell - (this.#fill % cell);
    return size <= room ? this.#fill : this.#fill + room;
  }

  /** Whether a boundary of shards of `size` lies inside an item that fits into one. */
  #cutsAny(size: number): boolean {
    for (let boundary = size; boundary < this.#fill; boundary += size) {
      const item = this.#firstEndingAfter(boundary);
      const start = this.#starts[item] as number;
      if (start < boundary && (this.#ends[item] as number) - start <= size) return true;
    }
    return false;
  }

  #firstEndingAfter(offset: number): number {
    let low = 0;
    let high = this.#ends.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#ends[middle] as number) > offset) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}

/** Part of an item in a finished layout. */
export interface PackExtent {
  /** Number of the chunk in the layout. */
  readonly chunk: number;
  readonly chunkOffset: number;
  readonly objectOffset: number;
  readonly length: number;
}

export interface PackedItems {
  readonly chunks: readonly SealedChunk[];
  /** For each item in order; an item of 0 bytes has none. */
  readonly extents: readonly (readonly PackExtent[])[];
}

/** Lays out items of known sizes, in order, over as many chunks as they need. */
export function layoutPack(sizes: readonly number[], capacity: number, dataShards: number): PackedItems {
  const chunks: SealedChunk[] = [];
  let layout = new PackLayout(capacity, dataShards);
  const extents = sizes.map((size) => {
    const parts: PackExtent[] = [];
    for (let done = 0; done < size;) {
      const placed = layout.place(size - done);
      if (placed === "full") {
        chunks.push(layout.seal());
        layout = new PackLayout(capacity, dataShards);
        continue;
      }
      parts.push({
        chunk: chunks.length,
        chunkOffset: placed.offset,
        objectOffset: done,
        length: placed.length,
      });
      done += placed.length;
    }
    return parts;
  });
  if (!layout.isEmpty) chunks.push(layout.seal());
  return { chunks, extents };
}
