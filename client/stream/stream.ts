import { canceled } from "../backoff.ts";
import { Acknowledger } from "./acknowledger.ts";
import type { Batch } from "./batch.ts";
import { beginOf, nextEpoch, type Begin } from "./begin.ts";
import { EpochReceiver } from "./epoch.ts";
import type { StreamOptions } from "./options.ts";
import { Prefetch } from "./prefetch.ts";
import { startRun, type StreamContext, type StreamRun } from "./run.ts";
import type { ExpectedBatch } from "./verifier.ts";

/**
 * Streams epochs batch by batch, each verified before it is yielded. Reconnects and continues by
 * itself; when the consumer's loop ends, early or not, the request is cancelled.
 * @throws VerificationError, or DataStreamError with the gateway's code.
 */
export async function* streamBatches(
  context: StreamContext,
  options: StreamOptions,
): AsyncGenerator<Batch, void, undefined> {
  const run = startRun(context, options);
  const { epochs = 1, acknowledge = "auto", signal } = options;
  yield* deliver(run, { begin: beginOf(options, run.worldSize), epochs, acknowledge, signal });
}

/** Which epochs of a run are streamed, and how. */
export interface Course {
  readonly begin: Begin;
  readonly epochs: number;
  readonly acknowledge: "auto" | "manual";
  readonly signal: AbortSignal | undefined;
}

/** `streamBatches` of a run that was started. */
export async function* deliver(
  run: StreamRun,
  { begin, epochs, acknowledge, signal }: Course,
): AsyncGenerator<Batch, void, undefined> {
  if (signal?.aborted === true) throw canceled();
  const stream = new BatchStream(run);
  const aborter = new AbortController();
  const onAbort = (): void => aborter.abort();
  signal?.addEventListener("abort", onAbort, { once: true });
  const batches = new Prefetch(
    stream.receive(begin, epochs, aborter.signal),
    run.prefetchBatches,
    ({ message }) => run.source.discard?.(message),
  );
  try {
    for await (const batch of batches) {
      if (aborter.signal.aborted) {
        run.source.discard?.(batch.message);
        throw canceled();
      }
      yield batch;
      if (acknowledge === "auto") stream.acknowledge(batch, false);
    }
    await stream.flush();
  } finally {
    signal?.removeEventListener("abort", onAbort);
    aborter.abort();
    await batches.close();
  }
}

/** The epochs of a run one after the other, and what the consumer says of their batches. */
class BatchStream {
  readonly #run: StreamRun;
  readonly #acknowledger: Acknowledger;
  /** Under which the batches of each epoch came last. */
  readonly #leases = new Map<number, bigint>();

  constructor(run: StreamRun) {
    this.#run = run;
    const { gateway, accessToken, streamId, rank } = run;
    const { datasetId } = run.plan.parameters;
    this.#acknowledger = new Acknowledger(gateway, { datasetId, accessToken, streamId, rank });
  }

  acknowledge(batch: Batch, checkpoint: boolean): void {
    const lease = this.#leases.get(batch.epoch);
    // Of a batch that it did not send the gateway knows nothing; the next one that it did covers it.
    const isLocal = this.#run.source.isLocal?.(batch.message) ?? false;
    if (lease === undefined || isLocal) return;
    const { epoch, index: batchIndex, transcriptHead } = batch;
    this.#acknowledger.push({ epoch, lease, batchIndex, transcriptHead, checkpoint });
  }

  flush(): Promise<void> {
    return this.#acknowledger.flush();
  }

  async *receive(first: Begin, epochs: number, signal: AbortSignal): AsyncGenerator<Batch, void, undefined> {
    let begin = first;
    const lastEpoch = first.epoch + epochs - 1;
    let next: EpochReceiver | undefined;
    // The request for an epoch goes out as soon as nothing more comes of the one before.
    const receiverOf = (epoch: Begin): EpochReceiver =>
      new EpochReceiver(
        this.#run,
        epoch,
        {
          onLease: (lease) => this.#leases.set(epoch.epoch, lease),
          onLastMessage: () => next?.open(),
        },
        signal,
      );
    let running = receiverOf(begin);
    for (;;) {
      const follows = begin.epoch < lastEpoch ? nextEpoch(begin) : undefined;
      next = follows && receiverOf(follows);
      for await (const batch of running.receive()) yield this.#batch(batch);
      if (follows === undefined || next === undefined) return;
      [begin, running] = [follows, next];
    }
  }

  #batch(expected: ExpectedBatch): Batch {
    const { dataset, streamId, worldSize, plan } = this.#run;
    const { message, epoch, index, files } = expected;
    const paths = files.map((file) => file.path);
    const labels =
      dataset.schema.labels === "path" ? paths.map((path) => dataset.label(path) as number) : undefined;
    const batch: Batch = {
      message,
      index,
      epoch,
      items: message.items,
      indices: expected.indices,
      paths,
      itemHashes: files.map((file) => file.contentHash),
      labels,
      paddedItems: expected.paddedItems,
      totalBatches: expected.totalBatches,
      isLast: expected.isLast,
      streamId,
      transcriptHead: expected.transcriptHead,
      position: {
        epoch,
        start_index: expected.startIndex,
        batch_index: index + 1,
        world_size: worldSize,
        batch_size: plan.parameters.batchSize,
      },
      acknowledge: (options) => {
        this.acknowledge(batch, options?.checkpoint ?? false);
        return this.flush();
      },
    };
    return batch;
  }
}
