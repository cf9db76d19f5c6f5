import type { DataStreamClient, OpenedStream } from "../client.ts";
import type { Batch, StreamPosition } from "../stream/batch.ts";
import type { StreamOptions } from "../stream/options.ts";
import type { StreamRun } from "../stream/run.ts";
import { deliver } from "../stream/stream.ts";
import { planMix, type ExhaustedPolicy, type PlannedStream } from "./plan.ts";
import type { MixPosition } from "./position.ts";

export interface MixedStream {
  readonly client: Pick<DataStreamClient, "openStream">;
  /** Positive whole number: its share of the batches among the sum of all. */
  readonly weight: number;
  /** `epoch` and `epochs` count from the beginning of the mixture, also where it goes on at a position. */
  readonly options: Omit<StreamOptions, "position" | "acknowledge" | "signal">;
}

export interface MixOptions {
  /** "stop" (default): the mixture ends where it needs a stream that has come to the end of its epochs. "repeat": such a
   * stream goes on with further epochs, until each stream has been through its own. */
  readonly exhausted?: ExhaustedPolicy;
  /** A consumer's checkpoint of a mixture of the same weights. */
  readonly position?: MixPosition;
  /** "auto" acknowledges a batch to its stream when the next one of the mixture is asked for. */
  readonly acknowledge?: "auto" | "manual";
  readonly signal?: AbortSignal;
}

/** A batch of one of the streams. */
export interface MixedBatch {
  readonly batch: Batch;
  /** Which stream it is of. */
  readonly stream: number;
  /** In the mixture, from 0 on, however often it went on. */
  readonly index: number;
  /** Where the mixture ends: `index` of the last batch, plus 1. */
  readonly totalBatches: number;
  readonly isLast: boolean;
  /** Store this with the model: a mixture that starts here gives the batch after this one. */
  readonly position: MixPosition;
}

/**
 * Mixes streams by whole weights, batch by batch: a batch is always of one stream, items of several streams never share
 * one. Which stream a batch is of follows from its index and the weights alone (`Mixing`), so ranks stay in step without
 * a word between them. All streams are opened, and received from, side by side.
 * @throws `invalid_argument` for streams that cannot be mixed; else what `streamBatches` throws.
 */
export async function* mixBatches(
  streams: readonly MixedStream[],
  options: MixOptions = {},
): AsyncGenerator<MixedBatch, void, undefined> {
  const contexts = await openAll(streams);
  try {
    yield* mixOpened(streams, contexts, options);
  } finally {
    await closeAll(contexts);
  }
}

/** All, or none. */
async function openAll(streams: readonly MixedStream[]): Promise<readonly OpenedStream[]> {
  const opening = await Promise.allSettled(streams.map(({ client, options }) => client.openStream(options)));
  const opened = opening.flatMap((each) => (each.status === "fulfilled" ? [each.value] : []));
  const failed = opening.find((each) => each.status === "rejected");
  if (failed === undefined) return opened;
  await closeAll(opened);
  throw failed.reason;
}

async function closeAll(streams: readonly OpenedStream[]): Promise<void> {
  await Promise.all(streams.map((each) => each.close()));
}

async function* mixOpened(
  streams: readonly MixedStream[],
  contexts: readonly OpenedStream[],
  { exhausted = "stop", position, acknowledge = "auto", signal }: MixOptions,
): AsyncGenerator<MixedBatch, void, undefined> {
  const weighted = contexts.map((context, i) => ({ context, ...(streams[i] as MixedStream) }));
  const plan = planMix(weighted, exhausted, position);
  const weights = streams.map(({ weight }) => weight);
  const lanes = plan.streams.map((stream) => new Lane(stream, signal));
  try {
    for (const lane of lanes) lane.ask();
    for (let index = plan.first; index < plan.end; index++) {
      const { source } = plan.mixing.at(index);
      const lane = lanes[source] as Lane;
      const batch = await lane.take();
      yield {
        batch,
        stream: source,
        index,
        totalBatches: plan.end,
        isLast: index === plan.end - 1,
        position: { position: index + 1, weights, streams: lanes.map((each) => each.position) },
      };
      if (acknowledge === "auto") lane.acknowledge(batch);
    }
    await Promise.all(lanes.map((lane) => lane.acknowledged));
  } finally {
    await Promise.all(lanes.map((lane) => lane.close()));
  }
}

/** One stream, its next batch asked for ahead. */
class Lane {
  readonly #run: StreamRun;
  readonly #leave: AbortController = new AbortController();
  readonly #batches: AsyncGenerator<Batch, void, undefined>;
  #left: number;
  #next: Promise<IteratorResult<Batch, void>> | undefined;
  /** Behind the batch that was taken last. */
  position: StreamPosition;
  /** Rejects when the gateway's transcript is another one than the client's. */
  acknowledged: Promise<void> = Promise.resolve();

  constructor({ run, begin, epochs, batches, position }: PlannedStream, signal: AbortSignal | undefined) {
    this.#run = run;
    const either = signal === undefined ? this.#leave.signal : AbortSignal.any([signal, this.#leave.signal]);
    this.#batches = deliver(run, { begin, epochs, acknowledge: "manual", signal: either });
    this.#left = batches;
    this.position = position;
  }

  ask(): void {
    if (this.#left === 0) return;
    this.#left -= 1;
    this.#next = this.#batches.next();
    this.#next.catch(() => undefined);
  }

  async take(): Promise<Batch> {
    const next = await this.#next;
    if (next === undefined || next.done === true) throw new Error("A stream ended before its last batch.");
    this.position = next.value.position;
    this.#next = undefined;
    if (this.#left === 0) await this.close();
    else this.ask();
    return next.value;
  }

  acknowledge(batch: Batch): void {
    this.acknowledged = batch.acknowledge();
    this.acknowledged.catch(() => undefined);
  }

  async close(): Promise<void> {
    // What was asked for ahead must neither be waited for nor be lost.
    this.#leave.abort();
    const next = await this.#next?.catch(() => undefined);
    this.#next = undefined;
    if (next?.done === false) this.#run.source.discard?.(next.value.message);
    await this.#batches.return();
  }
}
