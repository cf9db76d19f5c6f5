import { CHUNK_INTENT_LEASE_MS, CHUNK_INTENTS_PER_STATEMENT } from "../../core/limits.ts";
import type { ChunkIntent } from "../../core/write-catalog.ts";
import type { Geometry } from "../../kernels/index.ts";
import { planChunk } from "../chunk-writer.ts";
import type { UploadDeps } from "./deps.ts";

/** Hands out chunks to write, each on record in the catalog before anybody can put a shard of it. */
export class Intents {
  readonly #deps: UploadDeps;
  readonly #geometry: Geometry;
  readonly #ready: ChunkIntent[] = [];
  #expected: number;

  /** @param expected chunks that will be taken: a hint that saves statements. */
  constructor(deps: UploadDeps, geometry: Geometry, expected: number) {
    this.#deps = deps;
    this.#geometry = geometry;
    this.#expected = expected;
  }

  async take(): Promise<ChunkIntent> {
    if (this.#ready.length === 0) await this.#record();
    this.#expected--;
    return this.#ready.shift() as ChunkIntent;
  }

  /** Recorded and not taken. */
  get unused(): string[] {
    return this.#ready.map(({ id }) => id);
  }

  async #record(): Promise<void> {
    const count = Math.min(Math.max(1, this.#expected), CHUNK_INTENTS_PER_STATEMENT);
    const intents = Array.from({ length: count }, () => planChunk(this.#deps, this.#geometry));
    await this.#deps.catalog.insertIntents(intents, new Date(this.#deps.clock.now() + CHUNK_INTENT_LEASE_MS));
    this.#ready.push(...intents);
  }
}
