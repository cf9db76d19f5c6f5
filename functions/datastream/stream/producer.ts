/** Turns a stream's windows into finished messages, one at a time, at the pace of whoever takes them. */
import { DataStreamError } from "../../../core/errors.ts";
import { READ_TARGET_BYTES } from "../../../core/limits.ts";
import { planReads } from "../../../core/stream/read-plan.ts";
import type { LocatedItem } from "../../../core/erasure/location.ts";
import { openItemWindow, type ItemWindow, type ReadDeps } from "../../../storage/item-window.ts";
import { assembleBatch, layoutBatch, type StreamIdentity } from "./assemble.ts";
import type { AheadBudget } from "./ahead.ts";
import type { InvocationBudget } from "./budget.ts";
import { acquireSlot, trySlot, type Slot } from "./slots.ts";
import type { PlannedBatch, Windows } from "./windows.ts";

/** How a response ends: after the rank's last batch, or to be continued at a batch by another request. */
export type StreamEnd =
  | { readonly kind: "complete" }
  | { readonly kind: "continuation"; readonly batch: number };

/** A finished message with its envelope. Valid until the next call of `next` or `close`: the memory is used again. */
export interface StreamMessage {
  readonly kind: "batch";
  readonly bytes: Uint8Array<ArrayBuffer>;
}

interface OpenWindow {
  readonly batches: readonly PlannedBatch[];
  readonly reader: ItemWindow;
  /** The next batch of the window, and its first item. */
  batch: number;
  item: number;
}

interface Assembled {
  readonly kind: "batch";
  readonly slot: Slot;
}

export interface ProducerDeps extends ReadDeps {
  readonly invocation: InvocationBudget;
  readonly ahead: AheadBudget;
}

/**
 * Memory: a message that must go on is waited for while this holds none; the next message and reads for later
 * ones take only what is free of the part for that. So a reader that stalls keeps what it holds and no more, and
 * no two streams wait for each other.
 */
export class BatchProducer {
  readonly #deps: ProducerDeps;
  readonly #windows: Windows;
  readonly #identity: StreamIdentity;
  readonly #stop = new AbortController();
  #open: OpenWindow | undefined;
  #following: Promise<readonly PlannedBatch[] | undefined> | undefined;
  #lent: Slot | undefined;
  #ahead: Promise<Assembled | StreamEnd | undefined> | undefined;
  #sent = 0;
  #continuation: number | undefined;

  constructor(deps: ProducerDeps, windows: Windows, identity: StreamIdentity) {
    this.#deps = deps;
    this.#windows = windows;
    this.#identity = identity;
  }

  /** Messages handed out so far. */
  get sent(): number {
    return this.#sent;
  }

  /**
   * The next message, or how the response ends. It takes back the memory of the message before. Never call it
   * twice at once.
   * @throws whatever ends the stream early, or the reason given to `end`: nothing of the batch that failed was
   *   handed out.
   */
  async next(): Promise<StreamMessage | StreamEnd> {
    this.#giveBack();
    try {
      this.#stop.signal.throwIfAborted();
      return await this.#take();
    } catch (error) {
      throw this.#stop.signal.aborted ? this.#stop.signal.reason : error;
    }
  }

  async #take(): Promise<StreamMessage | StreamEnd> {
    const ahead = this.#ahead;
    this.#ahead = undefined;
    const checked = this.#windows.checkAccess();
    checked.catch(() => undefined); // awaited below, when there is something to hand out
    const produced = (await ahead) ?? (await this.#produce(acquireSlot));
    if (produced === undefined)
      throw new DataStreamError("internal", "A batch was neither made nor refused.");
    if (produced.kind !== "batch") return produced;
    try {
      await checked;
      if (this.#stop.signal.aborted) throw canceled();
    } catch (error) {
      produced.slot.release();
      throw error;
    }
    this.#lent = produced.slot;
    this.#sent++;
    this.#deps.invocation.countBytes(produced.slot.bytes.byteLength);
    this.#ahead = this.#produceAhead();
    return { kind: "batch", bytes: produced.slot.bytes };
  }

  /**
   * Ends all work: `next` throws the reason from now on. The message handed out last stays as it is, as it may be on
   * its way to a reader that stands still; its memory comes back with the next call of `next` or `close`.
   */
  end(reason: DataStreamError): void {
    if (this.#stop.signal.aborted) return;
    this.#stop.abort(reason);
    this.#open?.reader.close();
    // One that is still being written to is given back when its writer ends.
    this.#ahead?.then(
      (made) => made?.kind === "batch" && made.slot.release(),
      () => undefined,
    );
  }

  /** Ends all work and gives all memory back: nobody reads the last message any more. More than once has no effect. */
  close(): void {
    this.end(canceled());
    this.#giveBack();
  }

  #giveBack(): void {
    this.#lent?.release();
    this.#lent = undefined;
  }

  #produceAhead(): Promise<Assembled | StreamEnd | undefined> {
    const made = this.#produce(({ kernels, ahead }, bytes) =>
      bytes <= ahead.share ? trySlot({ kernels, budget: ahead }, bytes) : undefined,
    );
    made.catch(() => undefined); // reported by the `next` that takes it
    return made;
  }

  /** @param place finds memory; when it finds none the batch stays the next one. */
  async #produce(
    place: (deps: ProducerDeps, bytes: number, signal: AbortSignal) => Slot | undefined | Promise<Slot>,
  ): Promise<Assembled | StreamEnd | undefined> {
    const window = await this.#windowWithBatch();
    if (this.#stop.signal.aborted) throw canceled();
    if (this.#continuation !== undefined) return { kind: "continuation", batch: this.#continuation };
    if (window === undefined) return { kind: "complete" };

    const batch = window.batches[window.batch] as PlannedBatch;
    if (this.#sent > 0 && this.#deps.invocation.isSpent) return this.#handOver(batch.index);
    const message = layoutBatch(batch, this.#windows, this.#identity);
    const slot = await place(this.#deps, message.byteLength, this.#stop.signal);
    if (slot === undefined) return undefined;
    const first = window.item;
    window.batch++;
    window.item += batch.items.length;
    try {
      const { batchHash } = this.#identity;
      await assembleBatch(
        this.#deps.kernels,
        window.reader,
        first,
        message,
        slot.bytes,
        batch.head,
        batchHash,
      );
    } catch (error) {
      slot.release();
      throw error;
    }
    return { kind: "batch", slot };
  }

  /** The open window, or the next one when that has no batch left; undefined at the end. */
  async #windowWithBatch(): Promise<OpenWindow | undefined> {
    const open = this.#open;
    if (this.#continuation !== undefined || (open && open.batch < open.batches.length)) return open;
    open?.reader.close();
    this.#open = undefined;
    const batches = await (this.#following ?? this.#windows.next());
    this.#following = undefined;
    if (batches === undefined || this.#stop.signal.aborted) return undefined;

    const affordable = this.#affordable(batches);
    if (affordable.length === 0) {
      this.#handOver((batches[0] as PlannedBatch).index);
      return undefined;
    }
    const items = affordable.flatMap((batch) => batch.items);
    const { signal } = this.#stop;
    const { ahead } = this.#deps;
    const reads = { ...this.#deps, budget: ahead };
    const reader = openItemWindow(reads, items, { signal, readAheadBytes: ahead.share });
    this.#open = { batches: affordable, reader, batch: 0, item: 0 };
    if (affordable.length < batches.length) {
      const left = batches.slice(affordable.length);
      this.#following = Promise.resolve(left);
    } else {
      this.#following = this.#windows.next();
      this.#following.catch(() => undefined); // reported when its turn comes
    }
    return this.#open;
  }

  /** As many batches of the window as this invocation may still read; the first of a response always. */
  #affordable(batches: readonly PlannedBatch[]): readonly PlannedBatch[] {
    const allowed = this.#deps.invocation.allowedReads;
    if (mostReads(batches) <= allowed) return batches;
    // One plan instead of one for each batch: windows of a block shuffle have thousands of items, and mostly fit.
    const all = batches.flatMap((batch) => batch.items);
    if (planReads(all).reads.length <= allowed) return batches;
    const items: LocatedItem[] = [];
    for (const [count, batch] of batches.entries()) {
      items.push(...batch.items);
      const least = this.#sent === 0 ? 1 : 0;
      if (count >= least && planReads(items).reads.length > allowed) return batches.slice(0, count);
    }
    return batches;
  }

  #handOver(batch: number): StreamEnd {
    this.#continuation = batch;
    return { kind: "continuation", batch };
  }
}

/** No plan of these batches has more reads; cheap to tell, unlike the plan. */
function mostReads(batches: readonly PlannedBatch[]): number {
  let reads = 0;
  for (const { items } of batches)
    for (const { extents } of items)
      for (const { chunk, length } of extents)
        reads +=
          Math.min(chunk.dataShards, 1 + Math.ceil(length / chunk.shardLength)) +
          Math.floor(length / READ_TARGET_BYTES);
  return reads;
}

function canceled(): DataStreamError {
  return new DataStreamError("canceled", "The stream was cancelled.");
}
