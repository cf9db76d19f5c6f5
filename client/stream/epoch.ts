import { totalBatches } from "../../core/stream/batches.ts";
import { DataStreamError } from "../../core/errors.ts";
import { canceled } from "../backoff.ts";
import { VerificationError } from "../verification-error.ts";
import type { Begin } from "./begin.ts";
import type { BatchResponse } from "../../proto/index.ts";
import { overlapped } from "./overlap.ts";
import { Recovery } from "./recovery.ts";
import { streamRequest } from "./request.ts";
import { batchPlanOf, segmentOf, type StreamRun } from "./run.ts";
import type { BatchMessages } from "./source.ts";
import { BatchVerifier, type ExpectedBatch } from "./verifier.ts";

/** What the checker of items threw for a batch of which all else is right. */
class FailedCheck extends Error {
  readonly batch: ExpectedBatch;
  readonly error: DataStreamError;

  constructor(batch: ExpectedBatch, thrown: unknown) {
    const error = DataStreamError.from(thrown);
    super(error.message, { cause: thrown });
    this.batch = batch;
    this.error = error;
  }

  /** Whether other bytes may come when they are asked for again. */
  get isAboutItems(): boolean {
    return this.error instanceof VerificationError && this.error.mismatch.subject === "item";
  }
}

export interface EpochEvents {
  /** Batches of the epoch come under this lease from now on. */
  onLease(lease: bigint): void;
  /** The last message of the epoch arrived and is the expected one; its items are yet to be checked. */
  onLastMessage(): void;
}

interface Response {
  readonly messages: BatchMessages;
  readonly aborter: AbortController;
}

/** One epoch of one rank, over as many requests as it takes. */
export class EpochReceiver {
  readonly #run: StreamRun;
  readonly #begin: Begin;
  readonly #events: EpochEvents;
  readonly #signal: AbortSignal;
  #startIndex: number;
  #verifier: BatchVerifier | undefined;
  #opening: Promise<Response> | undefined;

  /** @param signal ends everything. */
  constructor(run: StreamRun, begin: Begin, events: EpochEvents, signal: AbortSignal) {
    this.#run = run;
    this.#begin = begin;
    this.#events = events;
    this.#signal = signal;
    this.#startIndex = begin.startIndex;
    if (begin.batchIndex !== undefined) this.#expectFrom(begin.batchIndex);
  }

  /** Sends the first request already now; `receive` goes on with its answer, be it an error. */
  open(): void {
    if (this.#isComplete) return;
    this.#opening ??= this.#request();
    this.#opening.catch(() => undefined);
  }

  /**
   * Yields the batches, each checked as a whole.
   * @throws VerificationError, or DataStreamError with the gateway's code.
   */
  async *receive(): AsyncGenerator<ExpectedBatch, void, undefined> {
    const recovery = new Recovery(this.#run.retry);
    /** Of the batch that was asked for again last. */
    let refetched = { index: -1, times: 0 };
    while (!this.#isComplete) {
      let received = false;
      try {
        const response = await this.#opened();
        try {
          for await (const batch of this.#checked(response)) {
            received = true;
            recovery.progress();
            yield batch;
          }
        } finally {
          // Whether it ended, failed, or the consumer left.
          response.aborter.abort();
          await response.messages.return({ continuation: undefined });
        }
        // A stream that had nothing left when it was continued ends without a batch.
        if (!received && this.#verifier === undefined) return;
        if (!received)
          throw new DataStreamError("unavailable", "The gateway ended the stream without a batch.");
      } catch (thrown) {
        if (this.#signal.aborted) throw canceled();
        if (thrown instanceof FailedCheck) {
          const { batch, error, isAboutItems } = thrown;
          // The source's own copy was bad: the gateway was not asked yet.
          const times = this.#isLocal(batch.message) ? 0 : 1;
          refetched = {
            index: batch.index,
            times: refetched.index === batch.index ? refetched.times + times : times,
          };
          if (!isAboutItems || refetched.times > this.#run.refetches) throw error;
          this.#verifier?.returnTo(batch);
        } else await recovery.after(DataStreamError.from(thrown), this.#signal);
      }
    }
  }

  get #isComplete(): boolean {
    const plan = batchPlanOf(this.#run, this.#startIndex);
    return this.#verifier !== undefined && this.#verifier.nextBatch >= totalBatches(plan);
  }

  /** The batches of one response, with their items checked. */
  #checked({ messages, aborter }: Response): AsyncGenerator<ExpectedBatch, void, undefined> {
    return overlapped(this.#expected(messages), (batch) => this.#check(batch, aborter), {
      width: this.#run.concurrentChecks,
      drop: ({ message }) => this.#run.source.discard?.(message),
    });
  }

  async *#expected(messages: BatchMessages): AsyncGenerator<ExpectedBatch, void, undefined> {
    for (;;) {
      const next = await messages.next();
      if (next.done === true) return;
      const message = next.value;
      let batch: ExpectedBatch;
      try {
        // Only a stream that asked to go on after its last acknowledgement takes the gateway's word for where that is.
        if (this.#verifier === undefined) this.#startIndex = Number(message.startIndex);
        const verifier = this.#verifier ?? this.#expectFrom(Number(message.batchIndex));
        batch = await verifier.verify(message, this.#isLocal(message));
      } catch (error) {
        this.#run.source.discard?.(message);
        throw error;
      }
      if (!this.#isLocal(message)) this.#events.onLease(message.lease);
      if (batch.isLast) this.#events.onLastMessage();
      yield batch;
    }
  }

  #isLocal(message: BatchResponse): boolean {
    return this.#run.source.isLocal?.(message) ?? false;
  }

  async #check(batch: ExpectedBatch, response: AbortController): Promise<void> {
    try {
      await this.#run.checkItems(batch);
    } catch (error) {
      // What is being received behind it is of no use, and must not be waited for.
      response.abort();
      throw new FailedCheck(batch, error);
    }
  }

  #opened(): Promise<Response> {
    const opening = this.#opening ?? this.#request();
    this.#opening = undefined;
    return opening;
  }

  async #request(): Promise<Response> {
    const run = this.#run;
    const { epoch } = this.#begin;
    const startIndex = this.#startIndex;
    const firstBatch = this.#verifier?.nextBatch;
    const request = streamRequest(run, { epoch, startIndex, batchIndex: firstBatch });
    const aborter = new AbortController();
    const messages = await run.source.open(request, {
      gateway: run.gateway,
      accessToken: run.accessToken,
      signal: AbortSignal.any([this.#signal, aborter.signal]),
      segment: this.#verifier?.segment ?? segmentOf(run, epoch, startIndex),
      dataset: run.dataset,
      firstBatch,
    });
    return { messages, aborter };
  }

  #expectFrom(firstBatch: number): BatchVerifier {
    const { dataset, blake3 } = this.#run;
    const segment = segmentOf(this.#run, this.#begin.epoch, this.#startIndex);
    this.#verifier = new BatchVerifier(dataset, segment, blake3, firstBatch);
    return this.#verifier;
  }
}
