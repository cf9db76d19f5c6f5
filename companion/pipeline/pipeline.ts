import type { Batch } from "../../client/stream/batch.ts";
import type { UncheckedBatch } from "../../client/stream/checker.ts";
import type { StreamOptions } from "../../client/stream/options.ts";
import { streamParameters } from "../../client/stream/options.ts";
import type { StreamContext } from "../../client/stream/run.ts";
import type { BatchSource } from "../../client/stream/source.ts";
import { streamBatches } from "../../client/stream/stream.ts";
import { processingHash, type Processing } from "../../core/augment/processing.ts";
import { requireHash } from "../../client/verification-error.ts";
import { DataStreamError } from "../../core/errors.ts";
import { SLOTS_DEFAULT } from "../../core/limits.ts";
import type { OutputFormat } from "../decode/output-format.ts";
import { slotBytesFor, type ConsumerDevice, type DeviceBackend, type Ring } from "../device/backend.ts";
import type { SkippedItem, TensorDescription } from "../handoff/messages.ts";
import { Slots, type SlotLease } from "../memory/slots.ts";
import { releaseMessage } from "../receive/messages.ts";
import type { WorkerPool } from "../workers/pool.ts";
import { SlotFiller, type Target } from "./filler.ts";
import type { PipelineObserver } from "./observer.ts";
import { SlotLayout } from "./slot-layout.ts";
import { observedSource } from "./source.ts";

/** Batches hashed and decoded at once: while the last items of one keep some threads busy, the next has begun. */
const CONCURRENT_CHECKS = 2;

export interface PipelineOptions {
  /** The dataset as it was opened, and the credentials. */
  readonly context: StreamContext;
  /** What to stream. `acknowledge`, `source`, `checkItems` and `processingHash` are the pipeline's own. */
  readonly stream: StreamOptions;
  /** Its messages lie in shared memory (`adoptMessage`). */
  readonly source: BatchSource;
  readonly workers: WorkerPool;
  readonly backend: DeviceBackend;
  readonly consumer?: ConsumerDevice;
  readonly slots?: number;
  /** What an item does that cannot be decoded: end the stream, or be left out and reported. Default "raise". */
  readonly onError?: "raise" | "skip";
  readonly processing?: Processing;
  readonly observer?: PipelineObserver;
  /** When it aborts nothing more is received or decoded: `batches` ends with its reason behind what is in slots, unless the stream does before. */
  readonly drain?: AbortSignal;
}

/** What is not told of a batch: bytes that are not its own for long, and what the pipeline does itself. */
const PRIVATE = ["items", "message", "acknowledge"] as const;

/** What a batch is, without its bytes as they came: their memory is used again. */
export type BatchDescription = Omit<Batch, (typeof PRIVATE)[number]>;

/** A verified batch in a slot of the ring, the consumer's until it is released. */
export interface ReadyBatch {
  readonly lease: SlotLease;
  readonly tensors: readonly TensorDescription[];
  /** Indices, paths, hashes and labels are of the items in the tensors, those that were skipped left out. */
  readonly batch: BatchDescription;
  /** Bytes of all items as they came. */
  readonly bytes: number;
  readonly errors: readonly SkippedItem[];
  /** Tells the gateway in the background that this batch and all before it are done with. */
  acknowledge(checkpoint?: boolean): void;
}

/**
 * One stream from the gateway into the slots of a ring: received, verified against the manifest, decoded and published
 * ahead of the consumer, as far as slots are free.
 */
export class Pipeline {
  readonly #options: PipelineOptions;
  readonly #aborter = new AbortController();
  readonly #filler: SlotFiller;
  readonly #batches: AsyncGenerator<Batch, void, undefined>;
  readonly #attached: PromiseWithResolvers<void> = Promise.withResolvers<void>();
  readonly #drain: AbortSignal;
  readonly #acknowledging = new Set<Promise<void>>();
  #prepared: { readonly target: Target; readonly first: UncheckedBatch } | undefined;
  #first: Promise<IteratorResult<Batch, void>> | undefined;
  /** Of an acknowledgement: the gateway's transcript is another. */
  #contradiction: unknown;
  #closing: Promise<void> | undefined;

  private constructor(options: PipelineOptions, onPrepared: () => void) {
    this.#options = options;
    this.#drain = options.drain ?? new AbortController().signal;
    this.#attached.promise.catch(() => undefined);
    const { context, stream, workers, onError = "raise", processing, observer = {} } = options;
    const { signal } = this.#aborter;
    const { blake3, dataset } = context;
    this.#filler = new SlotFiller({
      prepare: async (first) => {
        this.#prepared = { target: await this.#prepare(first), first };
        onPrepared();
        await this.#attached.promise;
        return this.#prepared.target;
      },
      label: (path) => dataset.label(path),
      run: (job) => workers.run(job),
      onError,
      signal: AbortSignal.any([signal, this.#drain]),
      observer,
    });
    this.#batches = streamBatches(context, {
      ...stream,
      ...(processing && { processingHash: processingHash(processing, blake3) }),
      source: observedSource(
        options.source,
        observer,
        (message) => this.#filler.discard(message),
        this.#drain,
      ),
      checkItems: this.#filler.check,
      concurrentChecks: CONCURRENT_CHECKS,
      batchHash: "framed",
      acknowledge: "manual",
      signal: stream.signal === undefined ? signal : AbortSignal.any([stream.signal, signal]),
    });
  }

  /**
   * Begins to receive, and resolves when the first batch has told what batches look like, or nothing is left to stream.
   * Nothing is decoded before `attach`.
   * @throws VerificationError, or DataStreamError of the gateway, the ring or the processing.
   */
  static async open(options: PipelineOptions): Promise<Pipeline> {
    const { promise: prepared, resolve } = Promise.withResolvers<void>();
    const pipeline = new Pipeline(options, resolve);
    try {
      pipeline.#first = pipeline.#batches.next();
      await Promise.race([prepared, pipeline.#first]);
      return pipeline;
    } catch (error) {
      await pipeline.close();
      throw error;
    }
  }

  /** Undefined when nothing is left to stream; likewise the two below. */
  get ring(): Ring | undefined {
    return this.#prepared?.target.ring;
  }

  get format(): OutputFormat | undefined {
    return this.#prepared?.target.job.format;
  }

  /** It may still prove wrong. */
  get firstBatch(): UncheckedBatch | undefined {
    return this.#prepared?.first;
  }

  /** Slots that the consumer holds. */
  get held(): number {
    return this.#prepared?.target.slots.held ?? 0;
  }

  /** The consumer has mapped the ring: decoding begins. */
  async attach(handles?: readonly string[]): Promise<void> {
    await this.ring?.attached(handles === undefined ? {} : { handles });
    this.#attached.resolve();
  }

  /**
   * The batches in their order. Ends after the last; whoever leaves early closes the pipeline.
   * @throws VerificationError or DataStreamError, after all batches before it.
   */
  async *batches(): AsyncGenerator<ReadyBatch, void, undefined> {
    for (;;) {
      let next: IteratorResult<Batch, void>;
      try {
        next = await (this.#first ?? this.#batches.next());
      } catch (error) {
        throw this.#contradiction ?? (this.#drain.aborted ? this.#drain.reason : error);
      }
      this.#first = undefined;
      if (next.done === true) return;
      yield await this.#ready(next.value);
    }
  }

  /** Takes back a batch that was handed over. @throws `invalid_argument` unless the consumer holds it. */
  release(lease: number, slot: number): void {
    this.#prepared?.target.slots.release(lease, slot);
  }

  /**
   * Waits until the gateway has been told of everything that was acknowledged, or cannot be.
   * @throws DataStreamError `data_loss` when the gateway's transcript is another.
   */
  async acknowledged(): Promise<void> {
    while (this.#acknowledging.size > 0) await Promise.allSettled(this.#acknowledging);
    if (this.#contradiction !== undefined) throw this.#contradiction;
  }

  /**
   * Ends the stream and gives everything back, whatever state it is in and whoever holds slots. Idempotent. What was
   * acknowledged is still told to the gateway: see `acknowledged`.
   */
  close(): Promise<void> {
    return (this.#closing ??= this.#close());
  }

  async #close(): Promise<void> {
    const closed = new DataStreamError("canceled", "The stream was closed.");
    this.#attached.reject(closed);
    this.#aborter.abort(closed);
    const first = await this.#first?.catch(() => undefined);
    if (first?.done === false) this.#drop(first.value);
    await this.#batches.return().catch(() => undefined);
    if (this.#prepared === undefined) return;
    await this.#prepared.target.slots.close();
    await this.#prepared.target.ring.close();
  }

  async #prepare(first: UncheckedBatch): Promise<Target> {
    const { context, stream, backend, consumer, processing, slots } = this.#options;
    const { dataset, blake3 } = context;
    const format = await this.#probe(first);
    const layout = new SlotLayout({
      format,
      batchSize: stream.batchSize,
      hasLabels: dataset.schema.labels === "path",
      maxItemBytes: dataset.info.max_item_bytes,
    });
    const count = slots ?? SLOTS_DEFAULT;
    const slotBytes = slotBytesFor(backend.name, layout.byteLength);
    const ring = await backend.createRing({ slots: count, slotBytes }, consumer);
    const { seed } = streamParameters(stream, dataset, blake3).parameters;
    return { ring, slots: new Slots(count), layout, job: { ring: ring.memory, format, processing, seed } };
  }

  /**
   * What batches look like is decided by the first item, or where undecodable ones are skipped by the first that can
   * be read; by its very bytes, so they have to be the right ones.
   */
  async #probe({ message, files, index }: UncheckedBatch): Promise<OutputFormat> {
    const { context, workers, processing, onError } = this.#options;
    for (const [i, { path, contentHash }] of files.entries()) {
      const item = message.items[i] as Uint8Array;
      requireHash("item", contentHash, context.blake3.hash(item), { batch: index, path });
      try {
        return await workers.probe(item, path, context.dataset.schema, processing);
      } catch (error) {
        if (onError !== "skip" || i === files.length - 1) throw error;
      }
    }
    throw new Error("A batch has at least one item.");
  }

  async #ready(batch: Batch): Promise<ReadyBatch> {
    const { lease, tensors, kept, errors, published } = this.#filler.take(batch.message);
    try {
      await published;
    } catch (error) {
      lease.release();
      throw error;
    } finally {
      releaseMessage(batch.message);
    }
    lease.handOver();
    const bytes = batch.items.reduce((sum, item) => sum + item.byteLength, 0);
    this.#options.observer?.delivered?.(kept.length, bytes);
    return {
      lease,
      tensors,
      batch: describe(batch, kept),
      bytes,
      errors,
      acknowledge: (checkpoint = false) => this.#acknowledge(batch, checkpoint),
    };
  }

  /** A transcript that differs is found in the background, and ends the stream. */
  #acknowledge(batch: Batch, checkpoint: boolean): void {
    const told = Promise.resolve()
      .then(() => batch.acknowledge({ checkpoint }))
      .catch((error: unknown) => {
        this.#contradiction ??= error;
        this.#aborter.abort(error);
      })
      .finally(() => this.#acknowledging.delete(told));
    this.#acknowledging.add(told);
  }

  #drop(batch: Batch): void {
    this.#filler.discard(batch.message);
    releaseMessage(batch.message);
  }
}

function describe(batch: Batch, kept: readonly number[]): BatchDescription {
  const { items } = batch;
  const isPublic = ([name]: [string, unknown]): boolean => !PRIVATE.some((own) => own === name);
  const rest = Object.fromEntries(Object.entries(batch).filter(isPublic)) as unknown as BatchDescription;
  if (kept.length === items.length) return rest;
  const only = <T>(values: readonly T[]): T[] => kept.map((i) => values[i] as T);
  const padding = items.length - batch.paddedItems;
  return {
    ...rest,
    indices: only(batch.indices),
    paths: only(batch.paths),
    itemHashes: only(batch.itemHashes),
    labels: batch.labels && only(batch.labels),
    paddedItems: kept.filter((i) => i >= padding).length,
  };
}
