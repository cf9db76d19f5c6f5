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
  const stream = new BatchStream(run, options);
  const aborter = new AbortController();
  const onAbort = (): void => aborter.abort();
  options.signal?.addEventListener("abort", onAbort, { once: true });
  if (options.signal?.aborted === true) throw canceled();
  const batches = new Prefetch(stream.receive(aborter.signal), run.prefetchBatches, ({ message }) =>
    run.source.discard?.(message),
  );
  try {
    for await (const batch of batches) {
      if (aborter.signal.aborted) {
        run.source.discard?.(batch.message);
        throw canceled();
      }
      yield batch;
      if (options.acknowledge !== "manual") stream.acknowledge(batch, false);
    }
    await stream.flush();
  } finally {
    options.signal?.removeEventListener("abort", onAbort);
    aborter.abort();
    await batches.close();
  }
}

/** The epochs of a run one after the other, and what the consumer says of their batches. */
class BatchStream {
  readonly #run: StreamRun;
  readonly #options: StreamOptions;
  readonly #acknowledger: Acknowledger;
  /** Under which the batches of each epoch came last. */
  readonly #leases = new Map<number, bigint>();

  constructor(run: StreamRun, options: StreamOptions) {
    this.#run = run;
    this.#options = options;
    const { gateway, accessToken, streamId, rank } = run;
    const { datasetId } = run.plan.parameters;
    this.#acknowledger = new Acknowledger(gateway, { datasetId, accessToken, streamId, rank });
  }

  acknowledge(batch: Batch, checkpoint: boolean): void {
    const lease = this.#leases.get(batch.epoch);
    if (lease === undefined) return;
    const { epoch, index: batchIndex, transcriptHead } = batch;
    this.#acknowledger.push({ epoch, lease, batchIndex, transcriptHead, checkpoint });
  }

  flush(): Promise<void> {
    return this.#acknowledger.flush();
  }

  async *receive(signal: AbortSignal): AsyncGenerator<Batch, void, undefined> {
    let begin = beginOf(this.#options, this.#run.worldSize);
    const lastEpoch = begin.epoch + (this.#options.epochs ?? 1) - 1;
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
