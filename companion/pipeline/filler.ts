import type { ItemChecker, UncheckedBatch } from "../../client/stream/checker.ts";
import { canceled } from "../../client/backoff.ts";
import { VerificationError } from "../../client/verification-error.ts";
import { DataStreamError } from "../../core/errors.ts";
import type { BatchResponse } from "../../proto/index.ts";
import type { Ring } from "../device/backend.ts";
import type { SkippedItem, TensorDescription } from "../handoff/messages.ts";
import { subReference, viewOf } from "../memory/reference.ts";
import type { SlotLease, Slots } from "../memory/slots.ts";
import { messageBuffer } from "../receive/messages.ts";
import { compact } from "../workers/compact.ts";
import type { BatchJob, ItemResult } from "../workers/job.ts";
import { jobItems, requireHashes, requireSizes } from "./items.ts";
import type { PipelineObserver } from "./observer.ts";
import type { SlotLayout } from "./slot-layout.ts";

/** A batch in its slot. */
export interface FilledSlot {
  readonly lease: SlotLease;
  readonly tensors: readonly TensorDescription[];
  /** Positions in the batch of the items that the tensors hold: all but those that were skipped. */
  readonly kept: readonly number[];
  readonly errors: readonly SkippedItem[];
  /** Resolves when the consumer can see it. */
  readonly published: Promise<void>;
}

/** What becomes known with the first batch: where batches go, and what they look like there. */
export interface Target {
  readonly ring: Ring;
  readonly slots: Slots;
  readonly layout: SlotLayout;
  /** What every job has in common. */
  readonly job: Pick<BatchJob, "ring" | "format" | "processing" | "seed">;
}

export interface FillerOptions {
  /** Called with the first batch alone; the others wait for its answer. */
  readonly prepare: (first: UncheckedBatch) => Promise<Target>;
  /** Class index of a path, where the schema takes labels from paths. */
  readonly label: (path: string) => number | undefined;
  readonly run: (job: BatchJob) => Promise<readonly ItemResult[]>;
  readonly onError: "raise" | "skip";
  /** Ends waiting for a slot. */
  readonly signal: AbortSignal;
  readonly observer: PipelineObserver;
}

/** Checks batches by hashing and decoding them into slots, on the threads of the worker pool. */
export class SlotFiller {
  readonly #options: FillerOptions;
  readonly #filled = new Map<BatchResponse, FilledSlot>();
  #target: Promise<Target> | undefined;
  /** The first batch, where it proved wrong. */
  #expected: UncheckedBatch | undefined;

  constructor(options: FillerOptions) {
    this.#options = options;
  }

  /** @throws VerificationError of subject "item"; `invalid_argument` for an item that cannot be decoded. */
  readonly check: ItemChecker = async (batch) => {
    const { signal, observer } = this.#options;
    if (this.#target === undefined && this.#expected !== undefined && !isSame(batch, this.#expected))
      throw canceled();
    const target = await (this.#target ??= this.#prepare(batch));
    const asked = performance.now();
    const lease = await target.slots.acquire(signal).catch((error: unknown) => {
      // Whatever ended the waiting: nobody shall ask for the batch again.
      throw signal.aborted ? canceled() : error;
    });
    const begun = performance.now();
    observer.waitedForSlot?.((begun - asked) / 1000);
    try {
      const filled = await this.#fill(batch, target, lease);
      observer.decoded?.((performance.now() - begun) / 1000);
      this.#filled.set(batch.message, filled);
    } catch (error) {
      lease.release();
      throw error;
    }
  };

  /** When the first batch proves wrong it is asked for again; what came behind it tells nothing. */
  async #prepare(first: UncheckedBatch): Promise<Target> {
    try {
      return await this.#options.prepare(first);
    } catch (error) {
      if (error instanceof VerificationError) {
        this.#target = undefined;
        this.#expected = first;
      }
      throw error;
    }
  }

  /** The slot of a checked batch, which is the caller's from now on. */
  take(message: BatchResponse): FilledSlot {
    const filled = this.#filled.get(message);
    if (filled === undefined) throw new Error("The batch was not checked here.");
    this.#filled.delete(message);
    return filled;
  }

  /** Frees what a batch holds that nobody will take. */
  discard(message: BatchResponse): void {
    const filled = this.#filled.get(message);
    this.#filled.delete(message);
    void filled?.published.catch(() => undefined).then(() => filled.lease.release());
  }

  async #fill(batch: UncheckedBatch, target: Target, lease: SlotLease): Promise<FilledSlot> {
    const { ring, layout, job } = target;
    const { files, indices, message, epoch } = batch;
    requireSizes(batch, this.#options.observer);
    if (!layout.holds(files))
      throw new DataStreamError(
        "data_loss",
        `Batch ${batch.index} is larger than the description of the dataset allows.`,
      );
    const begin = lease.index * ring.slotBytes;
    const { buffer, offsets } = messageBuffer(message);
    const output = subReference(ring.memory, begin + layout.dataOffset, layout.dataCapacity);
    const results = await this.#options.run({
      ...job,
      input: buffer,
      items: jobItems(batch, offsets),
      output,
      epoch,
    });
    const errors = this.#judge(batch, results);
    const slot = viewOf(ring.memory).subarray(begin, begin + ring.slotBytes);
    if (errors.length > 0) compact(slot.subarray(layout.dataOffset), job.format, results);
    const kept = results.flatMap((result, i) => (result.ok ? [i] : []));
    const isBytes = job.format.kind === "bytes";
    const ends: number[] = [];
    let dataBytes = isBytes ? 0 : kept.length * job.format.itemBytes;
    if (isBytes) for (const i of kept) ends.push((dataBytes += (files[i] as { size: number }).size));
    const labels = kept.map((i) => this.#options.label((files[i] as { path: string }).path));
    layout.write(slot, {
      indices: kept.map((i) => indices[i] as number),
      labels: labels[0] === undefined ? undefined : (labels as number[]),
      ends,
    });
    return {
      lease,
      tensors: layout.tensors(kept.length, dataBytes),
      kept,
      errors,
      published: this.#publish(ring, lease, layout.dataOffset + dataBytes),
    };
  }

  /** The copy to a device runs while the next batch is decoded. */
  #publish(ring: Ring, lease: SlotLease, byteLength: number): Promise<void> {
    const published = this.#published(ring, lease, byteLength);
    // Who takes the slot is told; nobody may.
    published.catch(() => undefined);
    return published;
  }

  async #published(ring: Ring, lease: SlotLease, byteLength: number): Promise<void> {
    const begun = performance.now();
    await ring.publish(lease.index, byteLength);
    lease.ready();
    this.#options.observer.published?.((performance.now() - begun) / 1000);
  }

  /** Returns what is left out. @throws as `check` does. */
  #judge(batch: UncheckedBatch, results: readonly ItemResult[]): SkippedItem[] {
    const { observer, onError } = this.#options;
    const { index, indices, files } = batch;
    requireHashes(batch, results, observer);
    const errors = results.flatMap((result, i): SkippedItem[] =>
      result.ok
        ? []
        : [
            {
              index: indices[i] as number,
              path: (files[i] as { path: string }).path,
              message: result.message,
            },
          ],
    );
    const [first] = errors;
    if (first === undefined) return errors;
    observer.undecodable?.(errors.length);
    if (onError === "skip") return errors;
    throw new DataStreamError("invalid_argument", `${first.path}: ${first.message}`, {
      details: { field: first.path, path: first.path, index: first.index, batch: index },
    });
  }
}

function isSame(one: UncheckedBatch, other: UncheckedBatch): boolean {
  return one.epoch === other.epoch && one.index === other.index;
}
