/** The streams of a companion: opened for clients of the handoff and of the port, counted, drained. */
import { DataStreamError } from "../../core/errors.ts";
import { parseProcessing } from "../../core/augment/processing.ts";
import { errorFields, type Log } from "../../core/log.ts";
import { checkStartIndex } from "../../core/stream/batches.ts";
import { RECEIVE_POOL_BYTES } from "../../core/limits.ts";
import { outputFormat, type OutputFormat } from "../decode/output-format.ts";
import type { DatasetSchema } from "../../core/dataset/schema.ts";
import { cachingSource } from "../cache/caching-source.ts";
import type { ItemCache } from "../cache/item-cache.ts";
import type { ConsumerDevice } from "../device/backend.ts";
import type { Backends } from "../device/backends.ts";
import {
  HANDOFF_BACKENDS,
  type BackendReport,
  type HandoffBackend,
  type StreamDescription,
  type StreamRequest,
} from "../handoff/messages.ts";
import type { BatchResponse, StreamBatchesRequest } from "../../proto/index.ts";
import type { ConsumerObserver, OpenedStream, SessionHost } from "../handoff/session.ts";
import { verifiedMessages } from "../pipeline/messages.ts";
import { Pipeline } from "../pipeline/pipeline.ts";
import { describeFormat, describeStream, streamOptionsOf } from "../pipeline/request.ts";
import { MessagePool } from "../receive/message-pool.ts";
import type { WorkerPool } from "../workers/pool.ts";
import type { Gateways } from "./gateways.ts";
import type { Metrics, StreamKind } from "./metrics.ts";
import type { Configuration } from "./settings.ts";
import { streamOptionsOfWire } from "./wire-request.ts";

/** Slots beside those that are kept ready: one with the consumer, one being filled. */
const SLOTS_BESIDE_READY = 2;
const PREFETCH_DEFAULT = 2;

export interface StreamsOptions {
  readonly configuration: Configuration;
  readonly version: string;
  readonly backends: Pick<Backends, "probed" | "choose">;
  readonly workers: WorkerPool;
  readonly gateways: Gateways;
  readonly cache: ItemCache | undefined;
  readonly metrics: Metrics;
  readonly log: Log;
}

interface Entry {
  readonly kind: StreamKind;
  readonly pool: MessagePool;
  pipeline: Pipeline | undefined;
}

export class Streams implements SessionHost {
  readonly version: string;
  readonly backends: readonly BackendReport[];
  readonly #options: StreamsOptions;
  readonly #entries = new Set<Entry>();
  /** Acknowledgements of closed streams that are still on their way. */
  readonly #finishing = new Set<Promise<void>>();
  readonly #drain = new AbortController();

  constructor(options: StreamsOptions) {
    this.#options = options;
    this.version = options.version;
    this.backends = HANDOFF_BACKENDS.map((name) => {
      const { available = false, reason = "it is unknown" } =
        options.backends.probed.find((probed) => probed.name === name) ?? {};
      return { name, available, reason };
    });
  }

  get count(): number {
    return this.#entries.size;
  }

  get isDraining(): boolean {
    return this.#drain.signal.aborted;
  }

  get messageBytes(): number {
    return [...this.#entries].reduce((sum, { pool }) => sum + pool.heldBytes, 0);
  }

  get slots(): { held: number; all: number } {
    const pipelines = [...this.#entries].map(({ pipeline }) => pipeline);
    return {
      held: pipelines.reduce((sum, pipeline) => sum + (pipeline?.held ?? 0), 0),
      all: pipelines.reduce((sum, pipeline) => sum + (pipeline?.ring?.slots ?? 0), 0),
    };
  }

  /** Opens nothing more, and lets running streams end with what is ready. */
  drain(): void {
    this.#drain.abort(draining());
  }

  /** Waits for the acknowledgements of streams that are closed. */
  async settled(): Promise<void> {
    while (this.#finishing.size > 0) await Promise.allSettled(this.#finishing);
  }

  async describe(request: StreamRequest): Promise<StreamDescription> {
    const { gateways } = this.#options;
    const options = streamOptionsOf(request);
    const client = gateways.client(
      gateways.address(request.gateway),
      request.access_token,
      request.known_keys,
    );
    const context = await client.openStream(options);
    const processing = request.processing && parseProcessing(request.processing);
    const format = formatWithoutItem(context.dataset.schema, processing);
    return {
      ...describeStream(context, options),
      format: format === undefined ? null : describeFormat(format),
    };
  }

  async open(request: StreamRequest, signal: AbortSignal): Promise<OpenedStream> {
    const rank = request.rank ?? 0;
    const metrics = this.#options.metrics;
    const entry = this.#admit("handoff");
    try {
      return await this.#open(request, entry, signal);
    } catch (error) {
      this.#entries.delete(entry);
      if (!signal.aborted) {
        metrics.streamFailed("handoff", DataStreamError.from(error).code);
        this.#options.log.warn("stream_refused", { rank, dataset: request.dataset, ...errorFields(error) });
      }
      throw error;
    }
  }

  async #open(request: StreamRequest, entry: Entry, signal: AbortSignal): Promise<OpenedStream> {
    const { gateways, backends, workers, configuration, log } = this.#options;
    const metrics = this.#options.metrics;
    const rank = request.rank ?? 0;
    const consumer = request.device && consumerOf(request.device);
    const { backend, reason } = await backends.choose(request.backend ?? configuration.backend, consumer);
    const processing = request.processing && parseProcessing(request.processing);
    const address = gateways.address(request.gateway);
    const options = streamOptionsOf(request);
    const context = await gateways
      .client(address, request.access_token, request.known_keys)
      .openStream(options);
    const description = describeStream(context, options);
    const cache = request.cache === false ? undefined : this.#options.cache;
    const received = gateways.source(address, entry.pool);
    const { blake3 } = context;
    const source =
      cache === undefined ? received : cachingSource(received, { cache, pool: entry.pool, blake3 });
    const pipeline = await Pipeline.open({
      context,
      stream: { ...options, retry: gateways.streamRetry, signal },
      source,
      workers,
      backend,
      slots: request.slots ?? (request.prefetch_batches ?? PREFETCH_DEFAULT) + SLOTS_BESIDE_READY,
      observer: metrics.pipelineObserver(rank, cache !== undefined),
      drain: this.#drain.signal,
      ...(consumer && { consumer }),
      ...(request.on_error && { onError: request.on_error }),
      ...(processing && { processing }),
    });
    entry.pipeline = pipeline;
    const first = pipeline.firstBatch;
    const streamId = first?.message.streamId ?? request.stream_id ?? null;
    const fields = { kind: "handoff", rank, stream_id: streamId, dataset: description.dataset.id };
    log.info("stream_opened", {
      ...fields,
      backend: backend.name,
      reason,
      slots: pipeline.ring?.slots,
      slot_bytes: pipeline.ring?.slotBytes,
    });
    metrics.streamOpened("handoff");
    return {
      pipeline,
      // The gateway may have gone on elsewhere than the request knew.
      description: {
        ...description,
        total_batches: first === undefined ? 0 : Number(first.message.totalBatches) - first.index,
        format: pipeline.format === undefined ? null : describeFormat(pipeline.format),
      },
      streamId,
      backend: backend.name as HandoffBackend,
      consumer: metrics.consumerObserver(rank),
      failed: (error) => {
        metrics.streamFailed("handoff", DataStreamError.from(error).code);
        log.warn("stream_failed", { ...fields, ...errorFields(error) });
      },
      closed: () => {
        log.info("stream_closed", fields);
        metrics.streamClosed("handoff");
        this.#finish(pipeline.acknowledged());
        this.#entries.delete(entry);
      },
    };
  }

  async *batches(
    request: StreamBatchesRequest,
    accessToken: string,
    signal: AbortSignal,
  ): AsyncGenerator<BatchResponse, void, undefined> {
    const { gateways, workers, metrics, log } = this.#options;
    const { rank } = request;
    const entry = this.#admit("grpc");
    const fields = { kind: "grpc", rank, dataset: request.datasetId };
    let isOpen = false;
    try {
      const stream = streamOptionsOfWire(request, accessToken);
      const address = gateways.address();
      const context = await gateways.client(address, accessToken).openStream(stream);
      if (stream.position === undefined && stream.startIndex !== undefined && stream.startIndex > 0)
        checkStartIndex(stream.startIndex, describeStream(context, stream).count);
      isOpen = true;
      metrics.streamOpened("grpc");
      log.info("stream_opened", fields);
      const messages = verifiedMessages({
        context,
        stream: { ...stream, retry: gateways.streamRetry, signal },
        source: gateways.source(address, entry.pool),
        workers,
        observer: metrics.pipelineObserver(rank, false),
        drain: this.#drain.signal,
      });
      yield* timed(messages, metrics.consumerObserver(rank));
    } catch (error) {
      if (signal.aborted) return;
      metrics.streamFailed("grpc", DataStreamError.from(error).code);
      log.warn(isOpen ? "stream_failed" : "stream_refused", { ...fields, ...errorFields(error) });
      throw error;
    } finally {
      if (isOpen) {
        metrics.streamClosed("grpc");
        log.info("stream_closed", fields);
      }
      this.#entries.delete(entry);
    }
  }

  /** @throws DataStreamError while draining, or when there are too many streams. */
  #admit(kind: StreamKind): Entry {
    this.#drain.signal.throwIfAborted();
    const { max_streams: limit } = this.#options.configuration;
    if (this.#entries.size >= limit)
      throw new DataStreamError(
        "resource_exhausted",
        `This companion has ${limit} streams, its most. Close one, or raise --max-streams.`,
        { details: { field: "max_streams", limit } },
      );
    const entry: Entry = { kind, pool: new MessagePool(RECEIVE_POOL_BYTES), pipeline: undefined };
    this.#entries.add(entry);
    return entry;
  }

  #finish(work: Promise<void>): void {
    const finished = work.finally(() => this.#finishing.delete(finished));
    this.#finishing.add(finished);
  }
}

function consumerOf({ probe, ...device }: NonNullable<StreamRequest["device"]>): ConsumerDevice {
  return probe === undefined ? device : { ...device, probe };
}

/** Tells how long its consumer waits for messages, and works on them. */
async function* timed<T>(
  messages: AsyncGenerator<T, void, undefined>,
  consumer: ConsumerObserver,
): AsyncGenerator<T, void, undefined> {
  let since = performance.now();
  const lap = (): number => {
    const before = since;
    since = performance.now();
    return (since - before) / 1000;
  };
  for await (const message of messages) {
    consumer.dataReady(lap());
    yield message;
    consumer.worked(lap());
  }
}

/** What items become, where schema and processing alone decide it. */
function formatWithoutItem(
  schema: DatasetSchema,
  processing: ReturnType<typeof parseProcessing> | undefined,
): OutputFormat | undefined {
  try {
    return outputFormat(schema, processing, { path: "", bytes: new Uint8Array(0) });
  } catch {
    return undefined;
  }
}

function draining(): DataStreamError {
  return new DataStreamError(
    "unavailable",
    "The companion is shutting down. Open the stream again with the last position.",
    { details: { reason: "draining" } },
  );
}
