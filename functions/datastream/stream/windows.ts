/** The windows of a running stream: which batches come next, where their items lie, and what the transcript says. */
import type { ChunkCache } from "../../../catalog/chunk-cache.ts";
import { locateItems } from "../../../catalog/locate.ts";
import type { TrustLevel } from "../../../core/dataset/trust.ts";
import type { LocatedItem } from "../../../core/erasure/location.ts";
import {
  REVOCATION_CHECK_MS,
  WINDOW_BLOCK_MAX_ITEMS,
  WINDOW_MAX_BATCHES,
  WINDOW_MAX_ITEMS,
} from "../../../core/limits.ts";
import type { Blake3, Clock, Sql } from "../../../core/ports.ts";
import { batchPositions, totalBatches, type BatchPlan } from "../../../core/stream/batches.ts";
import type { Attachment } from "../../../core/stream/session.ts";
import type { Segment } from "../../../core/stream/session-records.ts";
import { Transcript } from "../../../core/stream/transcript.ts";
import { accessEnded, type StreamPlan } from "./plan.ts";
import type { SessionPort } from "./session-port.ts";

export interface PlannedBatch {
  readonly index: number;
  readonly items: readonly LocatedItem[];
  /** How many of the last items repeat earlier ones. */
  readonly padded: number;
  /** The transcript after this batch. */
  readonly head: Uint8Array;
}

export interface WindowDeps {
  readonly sql: Sql;
  readonly chunks: ChunkCache;
  readonly kernels: { readonly blake3: Blake3 };
  readonly session: SessionPort;
  readonly clock: Clock;
}

/**
 * Hands out the windows of one attachment in turn. Each is located with the token checked again, chained, and
 * recorded in the session before it is handed out; so the session knows every head that a client may see.
 */
export class Windows {
  readonly segment: Segment;
  readonly lease: number;
  readonly total: number;
  readonly #deps: WindowDeps;
  readonly #plan: StreamPlan;
  readonly #tokenId: string;
  readonly #maxTrustLevel: TrustLevel;
  readonly #batches: BatchPlan;
  readonly #transcript: Transcript;
  /** The next batch to chain. */
  #chained: number;
  readonly #firstSent: number;
  /** When the token and the trust in the dataset were last known to hold. */
  #checkedAt: number;

  constructor(
    deps: WindowDeps,
    plan: StreamPlan,
    place: {
      readonly epoch: number;
      readonly rank: number;
      readonly worldSize: number;
      readonly tokenId: string;
      readonly maxTrustLevel: TrustLevel;
    },
    attachment: Attachment,
  ) {
    const { epoch, rank, worldSize } = place;
    const { startIndex, lease, chainBatch, chainHead, nextBatch } = attachment;
    this.segment = { epoch, rank, worldSize, startIndex };
    this.lease = lease;
    this.#deps = deps;
    this.#plan = plan;
    this.#tokenId = place.tokenId;
    this.#maxTrustLevel = place.maxTrustLevel;
    this.#batches = { ...plan.shape, worldSize, rank, start: startIndex };
    this.total = totalBatches(this.#batches);
    this.#chained = chainBatch;
    this.#firstSent = nextBatch;
    this.#checkedAt = deps.clock.now();
    const { blake3 } = deps.kernels;
    this.#transcript =
      chainHead === undefined
        ? Transcript.start({ parameters: plan.parameters, ...this.segment }, blake3)
        : Transcript.resume(chainHead, blake3);
  }

  /** The next window to send; undefined after the last. Never call it twice at once. */
  async next(): Promise<readonly PlannedBatch[] | undefined> {
    // A consumer that resumes where this session never was: the chain is caught up from hashes alone.
    while (this.#chained < this.#firstSent)
      await this.#prepare(Math.min(this.#firstSent - this.#chained, this.#batchesOf(WINDOW_BLOCK_MAX_ITEMS)));
    if (this.#chained >= this.total) return undefined;
    return this.#prepare(this.#windowLength());
  }

  /** Milliseconds until `checkAccess` asks again; at least 1. */
  get nextCheckMs(): number {
    return Math.max(1, this.#checkedAt + REVOCATION_CHECK_MS - this.#deps.clock.now());
  }

  /** Asks again whether token and trust hold, unless that was done a moment ago. @throws `unauthenticated` */
  async checkAccess(): Promise<void> {
    if (this.#deps.clock.now() - this.#checkedAt >= REVOCATION_CHECK_MS) await this.#locate([]);
  }

  /** How many batches of the size asked for make up so many items; at least one. */
  #batchesOf(items: number): number {
    return Math.max(1, Math.floor(items / this.#batches.batchSize));
  }

  #windowLength(): number {
    const { batchSize, worldSize, rank, start } = this.#batches;
    const left = this.total - this.#chained;
    const perBatch = batchSize * worldSize;
    const first = start + this.#chained * perBatch + rank;
    const open = first < this.#batches.count ? this.#plan.order.windowAt(first) : undefined;
    if (open === undefined) return Math.min(left, WINDOW_MAX_BATCHES, this.#batchesOf(WINDOW_MAX_ITEMS));
    // To the end of the open blocks, so that no later window reads them again.
    const toEnd = Math.ceil((open.end - first) / perBatch);
    return Math.min(left, Math.max(1, toEnd), this.#batchesOf(WINDOW_BLOCK_MAX_ITEMS));
  }

  async #prepare(count: number): Promise<readonly PlannedBatch[]> {
    const firstBatch = this.#chained;
    const batches = Array.from({ length: count }, (_, i) => batchPositions(this.#batches, firstBatch + i));
    const indices = batches.map(({ positions }) => positions.map((p) => this.#plan.order.itemAt(p)));
    const located = await this.#locate(indices.flat());

    const heads = new Uint8Array(32 * count);
    let next = 0;
    const planned = batches.map(({ padded }, i): PlannedBatch => {
      const own = indices[i] as number[];
      const items = located.slice(next, (next += own.length));
      const hashes = items.map(({ contentHash }) => contentHash);
      const head = this.#transcript.advance(firstBatch + i, own, hashes);
      heads.set(head, 32 * i);
      return { index: firstBatch + i, items, padded, head };
    });
    await this.#deps.session.record({ ...this.segment, lease: this.lease, firstBatch, heads });
    this.#chained += count;
    return planned;
  }

  /** @throws `unauthenticated` when the token, the dataset or the trust in it is gone. */
  async #locate(indices: readonly number[]): Promise<readonly LocatedItem[]> {
    const { sql, chunks } = this.#deps;
    const access = {
      datasetId: this.#plan.parameters.datasetId,
      tokenId: this.#tokenId,
      maxTrustLevel: this.#maxTrustLevel,
    };
    const from = indices[0] ?? 0;
    const isRun = indices.every((index, i) => index === from + i);
    const askedAt = this.#deps.clock.now();
    const selection = isRun ? { from, count: indices.length } : indices;
    const { authorized, items } = await locateItems(sql, access, selection, chunks);
    if (!authorized) throw accessEnded();
    this.#checkedAt = askedAt;
    return items;
  }
}
