import { availableParallelism } from "node:os";
import type { DataStreamClient, OpenedStream } from "../client/client.ts";
import type { StreamOptions } from "../client/stream/options.ts";
import type { BatchSource } from "../client/stream/source.ts";
import { parseProcessing } from "../core/augment/processing.ts";
import { DataStreamError, invalidArgument } from "../core/errors.ts";
import { SLOTS_DEFAULT } from "../core/limits.ts";
import type { OutputFormat } from "./decode/output-format.ts";
import { hostBackend } from "./device/host.ts";
import type { SkippedItem, TensorDescription } from "./handoff/messages.ts";
import { viewOf } from "./memory/reference.ts";
import { Pipeline, type BatchDescription, type ReadyBatch } from "./pipeline/pipeline.ts";
import { socketSource } from "./receive/socket-source.ts";
import { elementBytes, tensorArray, type ItemFormat, type TensorArray } from "./tensor.ts";
import { WorkerPool } from "./workers/pool.ts";

/** A verified and decoded batch in one contiguous tensor. */
export interface TensorBatch {
  /** N × item shape, row-major. A view of a ring slot: valid until the next batch is asked for, unless kept. */
  readonly data: TensorArray;
  /** Of items that stay bytes: the number of bytes. */
  readonly shape: readonly number[];
  readonly dtype: ItemFormat["dtype"];
  readonly layout: ItemFormat["layout"];
  /** Class index of each item, where the schema takes labels from paths. */
  readonly labels: Int32Array | undefined;
  /** Where each item ends in `data`, for items that stay bytes. */
  readonly ends: BigUint64Array | undefined;
  /** What the batch is: paths, indices, position. */
  readonly source: BatchDescription;
  /** Bytes of its items as they came. */
  readonly bytes: number;
  /** Items that were left out, with `onError` "skip". */
  readonly errors: readonly SkippedItem[];
  /** Tells the gateway that this batch and all before it are done with; by itself unless `acknowledge` is "manual". */
  acknowledge(options?: { checkpoint?: boolean }): void;
  /** Keeps `data` valid until the returned function is called. At least two slots must stay free. */
  keep(): () => void;
}

export interface TensorStreamOptions extends Omit<
  StreamOptions,
  "checkItems" | "batchHash" | "processingHash"
> {
  /** Batches in the ring: one with the consumer, the rest ready or being filled. Default 4, at least 2. */
  readonly slots?: number;
  /** Threads that verify and decode. Default: one for each processor, shared by the streams of this process. */
  readonly workers?: WorkerPool;
  /** Where messages come from, in shared memory. Default: the gateway, over a socket of our own. */
  readonly source?: BatchSource;
  /** docs/formats/processing-v1.md */
  readonly processing?: unknown;
  readonly onError?: "raise" | "skip";
}

/**
 * Streams batches as tensors into this process. The next batches are received, verified and decoded while the consumer
 * works on the current one.
 * @throws VerificationError or DataStreamError of the stream; `invalid_argument` for an item that does not decode;
 *   `resource_exhausted` when the consumer keeps so many batches that the ring is spent.
 */
export async function* streamTensors(
  client: DataStreamClient,
  options: TensorStreamOptions,
): AsyncGenerator<TensorBatch, void, undefined> {
  const { slots = SLOTS_DEFAULT, processing, onError, acknowledge = "auto" } = options;
  if (!Number.isInteger(slots) || slots < 2)
    throw invalidArgument("slots", "must be a whole number of at least 2.");
  const workers = options.workers ?? borrowWorkers();
  let stream: OpenedStream | undefined;
  let pipeline: Pipeline | undefined;
  try {
    stream = await client.openStream(options);
    pipeline = await Pipeline.open({
      context: stream,
      stream: options,
      source: options.source ?? socketSource(),
      workers,
      backend: hostBackend,
      slots,
      ...(onError && { onError }),
      ...(processing !== undefined && { processing: parseProcessing(processing) }),
    });
    await pipeline.attach();
    const loans = new Loans(pipeline, slots);
    for await (const ready of pipeline.batches()) {
      yield tensorBatch(ready, pipeline, loans);
      loans.finish(ready);
      if (acknowledge === "auto") ready.acknowledge();
    }
    await pipeline.acknowledged();
  } finally {
    await pipeline?.close();
    await stream?.close();
    if (options.workers === undefined) await returnWorkers();
  }
}

/** Which batches the consumer still has: the current one, and those that it keeps. */
class Loans {
  readonly #pipeline: Pipeline;
  readonly #slots: number;
  readonly #kept = new Set<ReadyBatch>();
  readonly #finished = new Set<ReadyBatch>();

  constructor(pipeline: Pipeline, slots: number) {
    this.#pipeline = pipeline;
    this.#slots = slots;
  }

  /** A kept slot is the consumer's; with one left to fill and one to hand over the stream can still go on. */
  keep(ready: ReadyBatch): () => void {
    if (this.#kept.size + 2 > this.#slots - 1) {
      throw new DataStreamError(
        "resource_exhausted",
        `The training loop keeps ${this.#kept.size} of ${this.#slots} batches; release some, copy the data, or raise slots.`,
        { details: { field: "slots", limit: this.#slots } },
      );
    }
    this.#kept.add(ready);
    return () => {
      if (this.#kept.delete(ready) && this.#finished.delete(ready)) ready.lease.release();
    };
  }

  /** The consumer asked for the next one. */
  finish(ready: ReadyBatch): void {
    if (this.#kept.has(ready)) this.#finished.add(ready);
    else this.#pipeline.release(ready.lease.number, ready.lease.index);
  }
}

function tensorBatch(ready: ReadyBatch, pipeline: Pipeline, loans: Loans): TensorBatch {
  const { ring, format } = pipeline as { ring: NonNullable<Pipeline["ring"]>; format: OutputFormat };
  const memory = viewOf(ring.memory);
  const begin = memory.byteOffset + ready.lease.index * ring.slotBytes;
  const arrayOf = ({ dtype, shape, offset }: TensorDescription): TensorArray =>
    tensorArray(
      dtype,
      memory.buffer,
      begin + offset,
      shape.reduce((product, dimension) => product * dimension, elementBytes(dtype)),
    );
  const named = (name: TensorDescription["name"]): TensorDescription | undefined =>
    ready.tensors.find((tensor) => tensor.name === name);
  const data = named("data") as TensorDescription;
  const [labels, ends] = [named("labels"), named("ends")];
  return {
    data: arrayOf(data),
    shape: data.shape,
    dtype: data.dtype,
    layout: format.layout,
    labels: labels && (arrayOf(labels) as Int32Array),
    ends: ends && (arrayOf(ends) as BigUint64Array),
    source: ready.batch,
    bytes: ready.bytes,
    errors: ready.errors,
    acknowledge: ({ checkpoint = false } = {}) => ready.acknowledge(checkpoint),
    keep: () => loans.keep(ready),
  };
}

/** The threads of all streams that brought none; they end with the last of those. */
let shared: WorkerPool | undefined;
let borrowers = 0;

function borrowWorkers(): WorkerPool {
  borrowers += 1;
  return (shared ??= new WorkerPool(availableParallelism()));
}

async function returnWorkers(): Promise<void> {
  borrowers -= 1;
  if (borrowers > 0) return;
  const pool = shared;
  shared = undefined;
  await pool?.close();
}
