import { create } from "@bufbuild/protobuf";
import { DataStreamError, invalidArgument } from "../../core/errors.ts";
import { checkBatchPlan, totalBatches, type BatchPlan } from "../../core/stream/batches.ts";
import type { Blake3 } from "../../core/ports.ts";
import {
  BatchHashMode,
  ShuffleMode,
  StreamBatchesRequestSchema,
  TailPolicy,
  type BatchResponse,
} from "../../proto/index.ts";
import { backoffDelayMs, canceled, DEFAULT_RETRY, sleep } from "../backoff.ts";
import type { Gateway } from "../http.ts";
import { Acknowledger } from "./acknowledger.ts";
import type { Batch, StreamPosition } from "./batch.ts";
import type { VerifiedDataset } from "./dataset.ts";
import { encodeRequest, readBatches, STREAM_CONTENT_TYPE } from "./frames.ts";
import { beginOf, streamParameters, type Begin, type StreamOptions, type StreamPlan } from "./options.ts";
import { Prefetch } from "./prefetch.ts";
import { BatchVerifier, type VerifiedBatch } from "./verifier.ts";

const PREFETCH_DEFAULT = 2;

/** What a running stream needs; `accessToken` opens exactly this dataset version. */
export interface StreamContext {
  readonly gateway: Gateway;
  readonly dataset: VerifiedDataset;
  readonly accessToken: string;
  readonly blake3: Blake3;
}

/**
 * Streams epochs batch by batch, each verified before it is yielded. Reconnects and continues by
 * itself; when the consumer's loop ends, early or not, the request is cancelled.
 * @throws VerificationError, or DataStreamError with the gateway's code.
 */
export async function* streamBatches(
  context: StreamContext,
  options: StreamOptions,
): AsyncGenerator<Batch, void, undefined> {
  const run = new StreamRun(context, options);
  const aborter = new AbortController();
  const onAbort = (): void => aborter.abort();
  options.signal?.addEventListener("abort", onAbort, { once: true });
  if (options.signal?.aborted === true) throw canceled();
  const batches = new Prefetch(run.receive(aborter.signal), options.prefetchBatches ?? PREFETCH_DEFAULT);
  try {
    for await (const batch of batches) {
      if (aborter.signal.aborted) throw canceled();
      yield batch;
      if (options.acknowledge !== "manual") run.acknowledge(batch, false);
    }
    await run.flush();
  } finally {
    options.signal?.removeEventListener("abort", onAbort);
    aborter.abort();
    await batches.close();
  }
}

/** Epochs are 32-bit numbers on the wire. */
const EPOCH_MAX = 2 ** 32 - 1;

function checkEpochs({ epoch, epochs = 1, position }: StreamOptions): void {
  const first = position?.epoch ?? epoch ?? 0;
  if (!Number.isInteger(epochs) || epochs < 1)
    throw invalidArgument("epochs", "must be a whole number of at least 1.");
  if (!Number.isInteger(first) || first < 0 || first + epochs - 1 > EPOCH_MAX)
    throw invalidArgument("epoch", `must be a whole number, and the last one at most ${EPOCH_MAX}.`, {
      limit: EPOCH_MAX,
    });
}

class StreamRun {
  readonly #context: StreamContext;
  readonly #options: StreamOptions;
  readonly #plan: StreamPlan;
  readonly #rank: number;
  readonly #worldSize: number;
  readonly #streamId: string;
  readonly #acknowledger: Acknowledger;
  /** Lease under which each epoch's batches were received last. */
  readonly #leases = new Map<number, bigint>();

  constructor(context: StreamContext, options: StreamOptions) {
    this.#context = context;
    this.#options = options;
    this.#rank = options.rank ?? 0;
    this.#worldSize = options.worldSize ?? 1;
    this.#plan = streamParameters(options, context.dataset, context.blake3);
    checkBatchPlan(this.#batchPlan(options.startIndex ?? 0));
    checkEpochs(options);
    if (options.position !== undefined) this.#checkPosition(options.position);
    this.#streamId = options.streamId ?? crypto.randomUUID();
    this.#acknowledger = new Acknowledger(context.gateway, {
      datasetId: context.dataset.info.id,
      accessToken: context.accessToken,
      streamId: this.#streamId,
      rank: this.#rank,
    });
  }

  /**
   * Past its end a position is of another dataset or filter, and an epoch of nothing would pass unseen.
   * @throws DataStreamError `invalid_argument`
   */
  #checkPosition({ start_index: start, batch_index: batch, world_size: worldSize }: StreamPosition): void {
    const isWhole = [start, batch, worldSize - 1].every((value) => Number.isSafeInteger(value) && value >= 0);
    // Rank 0 has the most batches, and ranks may share its position.
    const total = isWhole ? totalBatches({ ...this.#batchPlan(start), worldSize, rank: 0 }) : 0;
    if (isWhole && start <= this.#plan.count && batch <= total) return;
    throw invalidArgument(
      "position",
      `is no place of an epoch of ${this.#plan.count} items: batch ${batch} from item ${start} on.`,
    );
  }

  acknowledge(batch: Batch, checkpoint: boolean): void {
    const lease = this.#leases.get(batch.epoch);
    if (lease === undefined) return;
    this.#acknowledger.push({
      epoch: batch.epoch,
      lease,
      batchIndex: batch.index,
      transcriptHead: batch.transcriptHead,
      checkpoint,
    });
  }

  flush(): Promise<void> {
    return this.#acknowledger.flush();
  }

  async *receive(signal: AbortSignal): AsyncGenerator<Batch, void, undefined> {
    let begin = beginOf(this.#options, this.#worldSize);
    const lastEpoch = begin.epoch + (this.#options.epochs ?? 1) - 1;
    for (;;) {
      yield* this.#receiveEpoch(begin, signal);
      if (begin.epoch >= lastEpoch) return;
      begin = {
        epoch: begin.epoch + 1,
        startIndex: 0,
        batchIndex: begin.batchIndex === undefined ? undefined : 0,
      };
    }
  }

  /** One epoch over as many requests as it takes. */
  async *#receiveEpoch(begin: Begin, signal: AbortSignal): AsyncGenerator<Batch, void, undefined> {
    const retry = this.#options.retry ?? DEFAULT_RETRY;
    let verifier =
      begin.batchIndex === undefined
        ? undefined
        : this.#verifier(begin.epoch, begin.startIndex, begin.batchIndex);
    let startIndex = begin.startIndex;
    let failures = 0;
    // Requests that broke off may still reach the session, and take the rank over from the one that followed them.
    let astray = 0;
    for (;;) {
      if (verifier !== undefined && verifier.nextBatch >= totalBatches(this.#batchPlan(startIndex))) return;
      try {
        const resumeAt = verifier?.nextBatch;
        const responses = await this.#request(
          { epoch: begin.epoch, startIndex, batchIndex: resumeAt },
          signal,
        );
        let received = false;
        try {
          for (;;) {
            const next = await responses.next();
            if (next.done === true) break;
            if (verifier === undefined) {
              // Only a stream that asked to go on after its last acknowledgement takes the gateway's word for where that is.
              startIndex = Number(next.value.startIndex);
              verifier = this.#verifier(begin.epoch, startIndex, Number(next.value.batchIndex));
            }
            const verified = await verifier.verify(next.value);
            this.#leases.set(begin.epoch, next.value.lease);
            received = true;
            failures = 0;
            yield this.#batch(next.value, verified, startIndex);
          }
        } finally {
          // Cancels the response when the consumer left, or the batch was a lie.
          await responses.return({ continuation: undefined });
        }
        // A stream that had nothing left when it was continued ends without a batch.
        if (!received && verifier === undefined) return;
        if (!received)
          throw new DataStreamError("unavailable", "The gateway ended the stream without a batch.");
      } catch (thrown) {
        const error = DataStreamError.from(thrown);
        if (signal.aborted) throw canceled();
        failures += 1;
        const isOvertaken = error.code === "aborted" && astray > 0;
        if (error.code === "unavailable") astray += 1;
        if (isOvertaken) astray -= 1;
        if (!(error.retryable || isOvertaken) || failures >= retry.attempts) throw error;
        await sleep(backoffDelayMs(retry, failures - 1), signal);
      }
    }
  }

  async #request(begin: Begin, signal: AbortSignal): Promise<ReturnType<typeof readBatches>> {
    const { parameters } = this.#plan;
    const request = create(StreamBatchesRequestSchema, {
      datasetId: this.#context.dataset.info.id,
      accessToken: this.#context.accessToken,
      batchSize: parameters.batchSize,
      startIndex: BigInt(begin.startIndex),
      prefetchBatches: this.#options.prefetchBatches ?? PREFETCH_DEFAULT,
      maxTrustLevel: this.#options.maxTrustLevel ?? 0,
      shuffle: parameters.mode === "full",
      seed: BigInt.asIntN(64, parameters.seed),
      streamId: this.#streamId,
      epoch: begin.epoch,
      rank: this.#rank,
      worldSize: this.#worldSize,
      shuffleMode: {
        sequential: ShuffleMode.SHUFFLE_SEQUENTIAL,
        full: ShuffleMode.SHUFFLE_FULL,
        block: ShuffleMode.SHUFFLE_BLOCK,
      }[parameters.mode],
      blockSize: parameters.block?.blockSize ?? 0,
      lanes: parameters.block?.lanes ?? 0,
      blocksPerGroup: parameters.block?.blocksPerGroup ?? 0,
      tail: { short: TailPolicy.TAIL_SHORT, drop_last: TailPolicy.TAIL_DROP, pad: TailPolicy.TAIL_PAD }[
        parameters.tail
      ],
      batchHashMode:
        parameters.batchHash === "framed"
          ? BatchHashMode.BATCH_HASH_FRAMED
          : BatchHashMode.BATCH_HASH_CONCATENATED,
      ...(parameters.filter === undefined
        ? {}
        : {
            filter: { prefix: parameters.filter.prefix ?? "", globs: [...(parameters.filter.globs ?? [])] },
          }),
      ...(begin.batchIndex === undefined ? {} : { resumeBatchIndex: BigInt(begin.batchIndex) }),
    });
    const response = await this.#context.gateway.send(
      "POST",
      "/cyxcloud.datastream.DataStreamService/StreamBatches",
      {
        body: encodeRequest(request),
        headers: {
          "content-type": STREAM_CONTENT_TYPE,
          "connect-protocol-version": "1",
        },
        accessToken: this.#context.accessToken,
        signal,
      },
    );
    if (response.body === null)
      throw new DataStreamError("unavailable", "The gateway answered without a body.");
    return readBatches(response.body);
  }

  #batchPlan(start: number): BatchPlan {
    const { parameters, count } = this.#plan;
    return {
      count,
      batchSize: parameters.batchSize,
      worldSize: this.#worldSize,
      rank: this.#rank,
      start,
      tail: parameters.tail,
    };
  }

  #verifier(epoch: number, startIndex: number, firstBatch: number): BatchVerifier {
    const segment = {
      parameters: this.#plan.parameters,
      epoch,
      plan: this.#batchPlan(startIndex),
      order: this.#plan.orderOf(epoch),
      streamId: this.#streamId,
    };
    return new BatchVerifier(this.#context.dataset, segment, this.#context.blake3, firstBatch);
  }

  #batch(message: BatchResponse, verified: VerifiedBatch, startIndex: number): Batch {
    const { dataset } = this.#context;
    const index = Number(message.batchIndex);
    const paths = verified.files.map((file) => file.path);
    const labels =
      dataset.schema.labels === "path" ? paths.map((path) => dataset.label(path) as number) : undefined;
    const batch: Batch = {
      index,
      epoch: message.epoch,
      items: message.items,
      indices: verified.indices,
      paths,
      itemHashes: verified.files.map((file) => file.contentHash),
      labels,
      paddedItems: verified.paddedItems,
      totalBatches: verified.totalBatches,
      isLast: verified.isLast,
      streamId: this.#streamId,
      transcriptHead: verified.transcriptHead,
      position: {
        epoch: message.epoch,
        start_index: startIndex,
        batch_index: index + 1,
        world_size: this.#worldSize,
        batch_size: this.#options.batchSize,
      },
      acknowledge: (options) => {
        this.acknowledge(batch, options?.checkpoint ?? false);
        return this.flush();
      },
    };
    return batch;
  }
}
