import { clone } from "@bufbuild/protobuf";
import type { StreamEnd } from "../../client/stream/frames.ts";
import type { BatchMessages, BatchSource, SourceContext } from "../../client/stream/source.ts";
import { toHex } from "../../core/bytes.ts";
import { CACHE_RUN_BATCHES } from "../../core/limits.ts";
import type { Blake3 } from "../../core/ports.ts";
import { totalBatches } from "../../core/stream/batches.ts";
import {
  StreamBatchesRequestSchema,
  type BatchResponse,
  type StreamBatchesRequest,
} from "../../proto/index.ts";
import { withCleanup } from "../receive/cleanup.ts";
import type { MessagePool } from "../receive/message-pool.ts";
import { adoptMessage, discardMessage, whenReleased } from "../receive/messages.ts";
import { AccessCheck, type AskGateway } from "./access-check.ts";
import { layOut, planBatch, type PlannedBatch } from "./compose.ts";
import type { ItemCache, WantedItem } from "./item-cache.ts";

export interface CachingSourceOptions {
  readonly cache: ItemCache;
  /** Memory for messages made of cached items; best that of the inner source. */
  readonly pool: MessagePool;
  readonly blake3: Blake3;
  readonly now?: () => number;
  /** How the gateway is asked whether the token still holds. Default: for the dataset's description. */
  readonly askGateway?: AskGateway;
}

/** What was served from the cache, and what was not. */
export interface CachingSource extends BatchSource {
  readonly counts: { readonly localBatches: number; readonly fetchedBatches: number };
}

/** Which batch of which segment, and which items it was made of. */
interface LocalBatch {
  readonly segment: string;
  readonly index: number;
  readonly hashes: readonly Uint8Array[];
}

/**
 * Answers batches of which all items are cached without the network, and asks the inner source for the others; items of
 * what it sends are stored when their message is released, since only then they were checked. A response is given up when
 * a long run of cached batches follows. For one stream: make another for the next.
 *
 * Messages of its own have no transcript head and no lease, see `BatchSource.isLocal`. Where one does not fit its hashes,
 * what is damaged is dropped and comes from the gateway: a damaged cache costs time, never a run.
 *
 * The gateway is asked for each epoch whether the token still holds; the stream ends where it does not. One that cannot be
 * reached is not needed.
 *
 * Every message must be released or discarded. Batches are only composed with framed batch hashes. Where the gateway has to
 * say where the stream goes on, it is asked for one batch.
 */
export function cachingSource(inner: BatchSource, options: CachingSourceOptions): CachingSource {
  return new Caching(inner, options);
}

class Caching implements CachingSource {
  readonly counts = { localBatches: 0, fetchedBatches: 0 };
  readonly access: AccessCheck;
  readonly #inner: BatchSource;
  readonly #options: CachingSourceOptions;
  readonly #now: () => number;
  readonly #local = new WeakMap<BatchResponse, LocalBatch>();
  /** Messages that are not to be stored. */
  readonly #refused = new WeakSet<BatchResponse>();
  /** Items of messages that are still in memory and on their way to the cache, by hexadecimal hash. */
  readonly #passing = new Map<string, Uint8Array>();
  /** Local batches that nobody wanted: asked for again, they did not fit. */
  readonly #suspects = new Map<string, LocalBatch>();
  /** When this epoch began, and the one before. */
  #epoch: { readonly segment: string; readonly startedAt: number; readonly before: number } | undefined;

  constructor(inner: BatchSource, options: CachingSourceOptions) {
    this.#inner = inner;
    this.#options = options;
    this.#now = options.now ?? Date.now;
    this.access = new AccessCheck(options.askGateway);
  }

  async open(request: StreamBatchesRequest, context: SourceContext): Promise<BatchMessages> {
    const { segment, firstBatch } = context;
    this.#begin(nameOf(context));
    await this.#options.cache.refresh();
    if (segment.parameters.batchHash !== "framed") {
      const messages = await this.#inner.open(request, context);
      return withCleanup(this.#stored(messages), () => messages.return({ continuation: undefined }));
    }
    if (firstBatch === undefined) return new Epoch(this, this.#inner, request, context, -1).openAnywhere();
    const suspect = this.#takeSuspect(nameOf(context), firstBatch);
    if (suspect !== undefined) await this.#options.cache.check(suspect.hashes, this.#options.blake3);
    return new Epoch(this, this.#inner, request, context, suspect === undefined ? -1 : firstBatch).open(
      firstBatch,
    );
  }

  discard(message: BatchResponse): void {
    const local = this.#local.get(message);
    if (local === undefined) {
      this.#refused.add(message);
      this.#inner.discard?.(message);
    } else {
      this.#suspects.set(`${local.segment} ${local.index}`, local);
      discardMessage(message);
    }
  }

  isLocal(message: BatchResponse): boolean {
    return this.#local.has(message);
  }

  /** The local batch of this index that was discarded; the others of its segment were only behind it. */
  #takeSuspect(segment: string, index: number): LocalBatch | undefined {
    const suspect = this.#suspects.get(`${segment} ${index}`);
    for (const [key, local] of this.#suspects) if (local.segment === segment) this.#suspects.delete(key);
    return suspect;
  }

  #begin(segment: string): void {
    if (this.#epoch?.segment === segment) return;
    const startedAt = this.#now();
    this.#epoch = { segment, startedAt, before: this.#epoch?.startedAt ?? startedAt };
  }

  /** Passes messages on, and their items to the cache. */
  async *#stored(messages: BatchMessages): BatchMessages {
    try {
      for (;;) {
        const next = await messages.next();
        if (next.done === true) return next.value;
        this.store(next.value);
        yield next.value;
      }
    } finally {
      await messages.return({ continuation: undefined });
    }
  }

  /** Stores a message's items when it is released and was not refused. */
  store(message: BatchResponse): void {
    this.counts.fetchedBatches += 1;
    const { cache } = this.#options;
    const items = message.itemHashes
      .map((hash, i) => ({ hash, bytes: message.items[i] as Uint8Array }))
      .filter(({ hash, bytes }) => bytes !== undefined && !cache.has(hash));
    if (items.length === 0) return;
    const names = items.map(({ hash }) => toHex(hash));
    for (const [i, name] of names.entries())
      this.#passing.set(name, (items[i] as { bytes: Uint8Array }).bytes);
    whenReleased(message, async () => {
      const keepSince = this.#epoch?.before ?? 0;
      if (!this.#refused.has(message)) await cache.put(items, keepSince);
      for (const name of names) this.#passing.delete(name);
    });
  }

  isCached({ files }: PlannedBatch): boolean {
    return files.every(
      ({ contentHash }) => this.#options.cache.has(contentHash) || this.#passing.has(toHex(contentHash)),
    );
  }

  /** The batch as a message in the pool; undefined where an item is missing or cannot be read. */
  async compose(context: SourceContext, batch: PlannedBatch): Promise<BatchResponse | undefined> {
    const { cache, pool, blake3 } = this.#options;
    const layout = layOut(context.segment, batch, blake3);
    const pooled = await pool.acquire(layout.byteLength, context.signal);
    const bytes = new Uint8Array(pooled.buffer, 0, layout.byteLength);
    layout.write(bytes);
    const wanted: WantedItem[] = [];
    for (const [i, { contentHash: hash, size }] of batch.files.entries()) {
      const offset = layout.itemOffsets[i] as number;
      const target = bytes.subarray(offset, offset + size);
      const passing = this.#passing.get(toHex(hash));
      if (passing?.byteLength === size) target.set(passing);
      else wanted.push({ hash, target });
    }
    if (!(await cache.read(wanted))) {
      pooled.release();
      return undefined;
    }
    const message = adoptMessage(pooled, layout.byteLength);
    const hashes = batch.files.map(({ contentHash }) => contentHash);
    this.#local.set(message, { segment: nameOf(context), index: batch.index, hashes });
    return message;
  }
}

/** One response, which may be made of several of the inner source. */
class Epoch {
  readonly #source: Caching;
  readonly #inner: BatchSource;
  readonly #request: StreamBatchesRequest;
  /** Of the segment as it was asked for. */
  readonly #name: string;
  #context: SourceContext;
  /** A batch that must come from the inner source. */
  readonly #forced: number;
  /** A batch at or after the next that was not cached when it was looked at, so that runs are not looked at again and again. */
  #gap = -1;
  #response: BatchMessages | undefined;
  /** The next batch, composed while the one before is in use. */
  #ahead: Promise<BatchResponse | undefined> | undefined;

  constructor(
    source: Caching,
    inner: BatchSource,
    request: StreamBatchesRequest,
    context: SourceContext,
    forced: number,
  ) {
    this.#source = source;
    this.#inner = inner;
    this.#request = request;
    this.#context = context;
    this.#name = nameOf(context);
    this.#forced = forced;
  }

  get #total(): number {
    return totalBatches(this.#context.segment.plan);
  }

  /** The gateway says where the stream goes on, with the first message. */
  async openAnywhere(): Promise<BatchMessages> {
    this.#response = await this.#inner.open(this.#request, this.#context);
    this.#source.access.granted(this.#name);
    return withCleanup(this.#messages(-1), () => this.#leave());
  }

  /** The first request goes out at once, where one is needed. */
  async open(firstBatch: number): Promise<BatchMessages> {
    if (firstBatch >= this.#total || (await this.#plannedIfCached(firstBatch)) === undefined)
      this.#response = await this.#ask(firstBatch);
    else await this.#source.access.require(this.#name, this.#context);
    return withCleanup(this.#messages(firstBatch), () => this.#leave());
  }

  async *#messages(firstBatch: number): BatchMessages {
    let next = firstBatch;
    try {
      for (;;) {
        if (this.#response === undefined) {
          await this.#source.access.require(this.#name, this.#context);
          const message = await (this.#ahead ?? this.#compose(next));
          this.#ahead = undefined;
          if (message !== undefined) {
            next += 1;
            this.#source.counts.localBatches += 1;
            if (next < this.#total) this.#ahead = this.#composeAhead(next);
            yield message;
            if (next >= this.#total) return { continuation: undefined };
            continue;
          }
          this.#response = await this.#ask(next);
        }
        const received = await this.#response.next();
        if (received.done === true) return received.value;
        if (next < 0) this.#beginAt(received.value);
        next = Number(received.value.batchIndex) + 1;
        this.#source.store(received.value);
        yield received.value;
        if (await this.#isCachedRun(next)) await this.#giveUpResponse();
      }
    } finally {
      await this.#leave();
    }
  }

  #beginAt({ startIndex, batchIndex }: BatchResponse): void {
    const { segment } = this.#context;
    const plan = { ...segment.plan, start: Number(startIndex) };
    this.#context = { ...this.#context, segment: { ...segment, plan }, firstBatch: Number(batchIndex) };
  }

  async #ask(batch: number): Promise<BatchMessages> {
    const request = clone(StreamBatchesRequestSchema, this.#request);
    request.startIndex = BigInt(this.#context.segment.plan.start);
    request.resumeBatchIndex = BigInt(batch);
    const response = await this.#inner.open(request, { ...this.#context, firstBatch: batch });
    this.#source.access.granted(this.#name);
    return response;
  }

  /** Whether the response is worth less than the request that comes after the run. */
  async #isCachedRun(next: number): Promise<boolean> {
    if (this.#gap >= next || next + CACHE_RUN_BATCHES > this.#total) return false;
    for (let index = next; index < next + CACHE_RUN_BATCHES; index++) {
      if ((await this.#plannedIfCached(index)) !== undefined) continue;
      this.#gap = index;
      return false;
    }
    return true;
  }

  async #plannedIfCached(index: number): Promise<PlannedBatch | undefined> {
    if (index === this.#forced) return undefined;
    const { segment, dataset } = this.#context;
    const batch = await planBatch(segment, index, (indices) => dataset.files(indices));
    return this.#source.isCached(batch) ? batch : undefined;
  }

  async #compose(index: number): Promise<BatchResponse | undefined> {
    const batch = await this.#plannedIfCached(index);
    return batch && this.#source.compose(this.#context, batch);
  }

  #composeAhead(index: number): Promise<BatchResponse | undefined> {
    const composing = this.#compose(index);
    // It is thrown where it is awaited.
    composing.catch(() => undefined);
    return composing;
  }

  async #giveUpResponse(): Promise<void> {
    const end: StreamEnd = { continuation: undefined };
    await this.#response?.return(end);
    this.#response = undefined;
  }

  async #leave(): Promise<void> {
    const ahead = this.#ahead;
    this.#ahead = undefined;
    await this.#giveUpResponse();
    const message = await ahead?.catch(() => undefined);
    if (message !== undefined) discardMessage(message);
  }
}

function nameOf({ segment, dataset }: SourceContext): string {
  const { plan, epoch, streamId } = segment;
  return [dataset.info.id, streamId, epoch, plan.rank, plan.worldSize, plan.start].join(" ");
}
