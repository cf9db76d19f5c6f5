import { CHUNK_CACHE_CHUNKS, CHUNK_CACHE_TTL_MS } from "../core/limits.ts";
import type { ChunkLocation } from "../core/erasure/location.ts";
import type { Clock } from "../core/ports.ts";

interface Entry {
  readonly chunk: ChunkLocation;
  readonly expiresAt: number;
}

/**
 * Chunks that an isolate looked up lately, least recently used out first. Where shards lie may change
 * behind its back; entries expire, and a read that misses a shard looks the chunk up again.
 */
export class ChunkCache {
  readonly #entries = new Map<string, Entry>();
  readonly #clock: Clock;
  readonly #maxChunks: number;
  readonly #ttlMs: number;

  constructor(
    clock: Clock,
    {
      maxChunks = CHUNK_CACHE_CHUNKS,
      ttlMs = CHUNK_CACHE_TTL_MS,
    }: { maxChunks?: number; ttlMs?: number } = {},
  ) {
    this.#clock = clock;
    this.#maxChunks = maxChunks;
    this.#ttlMs = ttlMs;
  }

  get(chunkId: string): ChunkLocation | undefined {
    const entry = this.#entries.get(chunkId);
    if (entry === undefined) return undefined;
    this.#entries.delete(chunkId);
    if (entry.expiresAt <= this.#clock.now()) return undefined;
    this.#entries.set(chunkId, entry);
    return entry.chunk;
  }

  put(chunk: ChunkLocation): void {
    this.#entries.delete(chunk.id);
    this.#entries.set(chunk.id, { chunk, expiresAt: this.#clock.now() + this.#ttlMs });
    if (this.#entries.size <= this.#maxChunks) return;
    for (const oldest of this.#entries.keys()) {
      this.#entries.delete(oldest);
      break;
    }
  }

  delete(chunkId: string): void {
    this.#entries.delete(chunkId);
  }
}
