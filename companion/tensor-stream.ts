import type { DataStreamClient } from "../client/client.ts";
import { Prefetch } from "../client/stream/prefetch.ts";
import type { Batch } from "../client/stream/batch.ts";
import type { StreamOptions } from "../client/stream/options.ts";
import { toHex } from "../core/bytes.ts";
import type { DatasetSchema } from "../core/dataset/schema.ts";
import { DataStreamError, invalidArgument } from "../core/errors.ts";
import { DECODE_HEAP_BYTES, SLOTS_DEFAULT } from "../core/limits.ts";
import { type Kernels, loadKernels } from "../kernels/index.ts";
import type { EncodedItem } from "./decode/item.ts";
import { type ItemDecoder, itemDecoder } from "./decode/item-decoder.ts";
import { type OutputFormat, outputFormat } from "./decode/output-format.ts";
import { hostMemory, type DeviceBackend } from "./device.ts";
import { SlotRing, type Slot } from "./slot-ring.ts";
import { tensorArray, type ItemFormat, type TensorArray, type TensorLayout } from "./tensor.ts";

/** A verified and decoded batch in one contiguous tensor. */
export interface TensorBatch {
  /** N × item shape, row-major. A view of a ring slot: valid until the next batch is asked for, unless kept. */
  readonly data: TensorArray;
  readonly shape: readonly number[];
  readonly dtype: ItemFormat["dtype"];
  readonly layout: TensorLayout;
  /** Class index of each item, where the schema takes labels from paths. */
  readonly labels: Int32Array | undefined;
  /** The batch as it came: paths, indices, position, acknowledgement. */
  readonly source: Batch;
  /** Keeps `data` valid until the returned function is called. At least two slots must stay free. */
  keep(): () => void;
}

export interface TensorStreamOptions extends StreamOptions {
  readonly backend?: DeviceBackend;
  /** Buffers in the ring: one with the consumer, the rest ready or being filled. Default 4, at least 2. */
  readonly slots?: number;
}

/**
 * Streams batches as tensors. The next batches are received, verified and decoded while the consumer
 * works on the current one.
 * @throws VerificationError or DataStreamError of the stream; `invalid_argument` for an item that does not decode;
 *   `resource_exhausted` when the consumer keeps so many batches that the ring is spent.
 */
export async function* streamTensors(
  client: DataStreamClient,
  options: TensorStreamOptions,
): AsyncGenerator<TensorBatch, void, undefined> {
  const slots = options.slots ?? SLOTS_DEFAULT;
  if (!Number.isInteger(slots) || slots < 2)
    throw invalidArgument("slots", "must be a whole number of at least 2.");
  const dataset = await client.openDataset(options.dataset, options.accessToken);
  const filler = new Filler(
    dataset.schema,
    await loadKernels({ heapBytes: DECODE_HEAP_BYTES }),
    options.backend ?? hostMemory,
    slots,
    options.batchSize,
  );
  // A consumer that leaves must not wait for the batch that is being received.
  const leave = new AbortController();
  const signal =
    options.signal === undefined ? leave.signal : AbortSignal.any([options.signal, leave.signal]);
  const batches = client.streamBatches({
    ...options,
    // The very version whose schema the decoder follows, also when another one was made meanwhile.
    dataset: `${dataset.info.id}@blake3:${toHex(dataset.contentHash)}`,
    // Acknowledging follows the consumer, not the decoder, which runs ahead of it.
    acknowledge: "manual",
    signal,
  });
  const ready = new Prefetch(filler.fill(batches), Math.max(1, slots - 2));
  try {
    for await (const filled of ready) {
      filler.handOver(filled.slot);
      yield tensorBatch(filled, filler);
      filler.takeBack(filled.slot);
      if (options.acknowledge !== "manual") void filled.batch.acknowledge().catch(() => undefined);
    }
    await filler.lastAcknowledged(options.acknowledge !== "manual");
  } finally {
    filler.close();
    leave.abort();
    await ready.close();
    filler.releaseAll();
  }
}

interface Filled {
  readonly batch: Batch;
  readonly slot: Slot;
  readonly format: OutputFormat;
}

class Filler {
  readonly #schema: DatasetSchema;
  readonly #kernels: Kernels;
  readonly #backend: DeviceBackend;
  readonly #slots: number;
  readonly #batchSize: number;
  readonly #kept = new Set<Slot>();
  /** Filled, and not given back. */
  readonly #filled = new Set<Slot>();
  #format: OutputFormat | undefined;
  #decoder: ItemDecoder | undefined;
  #ring: SlotRing | undefined;
  #last: Batch | undefined;

  constructor(
    schema: DatasetSchema,
    kernels: Kernels,
    backend: DeviceBackend,
    slots: number,
    batchSize: number,
  ) {
    this.#schema = schema;
    this.#kernels = kernels;
    this.#backend = backend;
    this.#slots = slots;
    this.#batchSize = batchSize;
  }

  async *fill(batches: AsyncIterable<Batch>): AsyncGenerator<Filled, void, undefined> {
    for await (const batch of batches) {
      const first = { path: batch.paths[0] as string, bytes: batch.items[0] as Uint8Array };
      const format = (this.#format ??= this.#tensorFormat(first));
      this.#ring ??= new SlotRing(this.#backend, this.#slots, format.itemBytes * this.#batchSize);
      const slot = await this.#ring.acquire();
      try {
        await this.#decodeInto(slot, batch, format);
      } catch (error) {
        slot.release();
        throw error;
      }
      this.#last = batch;
      this.#filled.add(slot);
      yield { batch, slot, format };
    }
  }

  #tensorFormat(first: EncodedItem): OutputFormat {
    const format = outputFormat(this.#schema, undefined, first);
    if (format.kind === "tensor") return format;
    throw invalidArgument(
      "schema.format",
      `is ${this.#schema.format}, which does not become a tensor. Stream the bytes instead.`,
    );
  }

  async #decodeInto(slot: Slot, batch: Batch, format: OutputFormat): Promise<void> {
    const size = format.itemBytes;
    const decoder = (this.#decoder ??= itemDecoder(format, undefined, this.#kernels));
    for (const [i, bytes] of batch.items.entries()) {
      const into = slot.buffer.host.subarray(i * size, (i + 1) * size);
      const key = { seed: 0n, epoch: batch.epoch, itemIndex: batch.indices[i] as number };
      decoder.decode({ path: batch.paths[i] as string, bytes }, key, into);
    }
    await slot.buffer.publish(batch.items.length * size);
  }

  /** A kept slot is the consumer's; with one left to fill and one to hand over the stream can still go on. */
  keep(slot: Slot): () => void {
    if (this.#kept.size + 2 > this.#slots - 1) {
      throw new DataStreamError(
        "resource_exhausted",
        `The training loop keeps ${this.#kept.size} of ${this.#slots} batches; release some, copy the data, or raise slots.`,
        { details: { field: "slots", limit: this.#slots } },
      );
    }
    this.#kept.add(slot);
    return () => {
      if (this.#kept.delete(slot) && !this.#current.has(slot)) this.#giveBack(slot);
    };
  }

  readonly #current = new Set<Slot>();

  handOver(slot: Slot): void {
    this.#current.add(slot);
  }

  takeBack(slot: Slot): void {
    this.#current.delete(slot);
    if (!this.#kept.has(slot)) this.#giveBack(slot);
  }

  /** When the stream is over: what the consumer keeps is freed when it lets go. */
  releaseAll(): void {
    this.#current.clear();
    for (const slot of this.#filled) if (!this.#kept.has(slot)) this.#giveBack(slot);
  }

  #giveBack(slot: Slot): void {
    this.#filled.delete(slot);
    slot.release();
  }

  async lastAcknowledged(automatic: boolean): Promise<void> {
    if (automatic) await this.#last?.acknowledge();
  }

  close(): void {
    this.#ring?.close();
  }
}

function tensorBatch({ batch, slot, format }: Filled, filler: Filler): TensorBatch {
  const { host } = slot.buffer;
  const count = batch.items.length;
  return {
    data: tensorArray(format.dtype, host.buffer, host.byteOffset, count * format.itemBytes),
    shape: [count, ...format.shape],
    dtype: format.dtype,
    layout: format.layout,
    labels: batch.labels === undefined ? undefined : Int32Array.from(batch.labels),
    source: batch,
    keep: () => filler.keep(slot),
  };
}
