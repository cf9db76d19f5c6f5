/** Packs files that stream in, one after the other, into chunks. */
import { PackLayout } from "../core/erasure/pack-layout.ts";
import { invalidArgument } from "../core/errors.ts";
import type { Blake3Incremental } from "../core/ports.ts";
import type { ChunkIntent, StagedExtent, WrittenChunk } from "../core/write-catalog.ts";
import { type ChunkBuffer, type ChunkWriterDeps, writeChunk } from "./chunk-writer.ts";
import { createSha256, sha256, type Sha256 } from "./sha256.ts";
import type { ByteSource } from "./byte-source.ts";

export interface PackedFile {
  readonly size: number;
  readonly contentHash: Uint8Array;
  readonly sha256: Uint8Array;
  readonly extents: readonly StagedExtent[];
}

interface Hashes {
  readonly blake3: Blake3Incremental;
  readonly sha256: Sha256;
}

/**
 * Fills one chunk buffer again and again. A file that fits into a shard lies in one shard, as `PackLayout` places
 * it; a larger one may go on in the next chunk. Chunks are stored as they fill up.
 */
export class Packer {
  readonly #deps: ChunkWriterDeps;
  readonly #buffer: ChunkBuffer;
  readonly #capacity: number;
  readonly #takeIntent: () => Promise<ChunkIntent>;
  readonly #chunks: WrittenChunk[] = [];
  #layout: PackLayout;
  #intent: ChunkIntent | undefined;

  /**
   * @param capacity most bytes of a chunk; the buffer must have room for the shards of a chunk that full.
   * @param takeIntent names the next chunk, on record before it returns.
   */
  constructor(
    deps: ChunkWriterDeps,
    buffer: ChunkBuffer,
    capacity: number,
    takeIntent: () => Promise<ChunkIntent>,
  ) {
    this.#deps = deps;
    this.#buffer = buffer;
    this.#capacity = capacity;
    this.#takeIntent = takeIntent;
    this.#layout = this.#newLayout();
  }

  /**
   * Takes `size` bytes from `source`, which must not have fewer.
   * @throws what writing a chunk throws, and `invalid_argument` when the source ends early.
   */
  async add(size: number, source: ByteSource): Promise<PackedFile> {
    const extents: StagedExtent[] = [];
    let hashes: Hashes | undefined;
    try {
      for (let done = 0; done < size;) {
        const data = await this.#fill(size - done, source);
        extents.push({
          chunkId: this.#chunkId,
          chunkOffset: data.offset,
          objectOffset: done,
          length: data.bytes.length,
        });
        if (data.bytes.length === size) return { size, extents, ...(await this.#hashWhole(data.bytes)) };
        hashes ??= { blake3: this.#deps.kernels.blake3.incremental(), sha256: createSha256() };
        hashes.blake3.update(data.bytes);
        await hashes.sha256.update(data.bytes);
        done += data.bytes.length;
      }
      if (hashes === undefined) return { size, extents, ...(await this.#hashWhole(new Uint8Array())) };
      return { size, extents, sha256: await hashes.sha256.digest(), contentHash: hashes.blake3.digest() };
    } catch (error) {
      hashes?.blake3.dispose();
      await hashes?.sha256.dispose();
      throw error;
    }
  }

  /** Stores the last chunk. @returns all chunks of the pack, in order. */
  async finish(): Promise<readonly WrittenChunk[]> {
    if (!this.#layout.isEmpty) await this.#seal();
    return this.#chunks;
  }

  get #chunkId(): string {
    return (this.#intent as ChunkIntent).id;
  }

  /** Places as much of a file as the chunk takes, sealing one that is full first. */
  async #fill(size: number, source: ByteSource): Promise<{ offset: number; bytes: Uint8Array<ArrayBuffer> }> {
    const end = this.#layout.chunkLength;
    const placed = this.#layout.place(size);
    if (placed === "full") {
      await this.#seal();
      return this.#fill(size, source);
    }
    this.#intent ??= await this.#takeIntent();
    const { offset, length } = placed;
    const bytes = this.#buffer.data.subarray(offset, offset + length);
    // Padding is part of the chunk, and the buffer remembers the chunk before.
    this.#buffer.data.fill(0, end, offset);
    if ((await source.readInto(bytes)) < length)
      throw invalidArgument("body", "ends within a file. Send the part again.");
    return { offset, bytes };
  }

  async #hashWhole(bytes: Uint8Array<ArrayBuffer>): Promise<{ contentHash: Uint8Array; sha256: Uint8Array }> {
    return { contentHash: this.#deps.kernels.blake3.hash(bytes), sha256: await sha256(bytes) };
  }

  async #seal(): Promise<void> {
    const { chunkLength, shardSize } = this.#layout.seal();
    const contentHash = this.#deps.kernels.blake3.hash(this.#buffer.data.subarray(0, chunkLength));
    const chunk = { length: chunkLength, shardLength: shardSize, contentHash };
    this.#chunks.push(await writeChunk(this.#deps, this.#buffer, this.#intent as ChunkIntent, chunk));
    this.#intent = undefined;
    this.#layout = this.#newLayout();
  }

  #newLayout(): PackLayout {
    return new PackLayout(this.#capacity, this.#buffer.geometry.k);
  }
}
