import type { ItemChecker } from "../../client/stream/checker.ts";
import type { StreamOptions } from "../../client/stream/options.ts";
import type { StreamContext } from "../../client/stream/run.ts";
import type { BatchSource } from "../../client/stream/source.ts";
import { streamBatches } from "../../client/stream/stream.ts";
import type { BatchResponse } from "../../proto/index.ts";
import { BYTES_FORMAT } from "../decode/output-format.ts";
import { messageBuffer, releaseMessage } from "../receive/messages.ts";
import type { WorkerPool } from "../workers/pool.ts";
import { jobItems, requireHashes, requireSizes } from "./items.ts";
import type { PipelineObserver } from "./observer.ts";
import { observedSource } from "./source.ts";

export interface VerifiedMessagesOptions {
  readonly context: StreamContext;
  readonly stream: StreamOptions;
  readonly source: BatchSource;
  readonly workers: WorkerPool;
  readonly observer: PipelineObserver;
  /** Ends the stream behind what has arrived, with the signal's reason. */
  readonly drain: AbortSignal;
}

const SCRATCH_MIN_BYTES = 1024 * 1024;

/**
 * The messages of a stream as they were received, each verified as a whole before it is yielded: for consumers that decode
 * themselves. A message is void when the next is asked for. Acknowledging is the consumer's.
 * @throws VerificationError, or DataStreamError of the gateway.
 */
export async function* verifiedMessages(
  options: VerifiedMessagesOptions,
): AsyncGenerator<BatchResponse, void, undefined> {
  const { context, stream, workers, observer, drain } = options;
  const source = observedSource(options.source, observer, () => undefined, drain);
  // The hash over concatenated items is of their bytes, too: this thread computes both then.
  const isFramed = stream.batchHash !== "concatenated";
  const batches = streamBatches(context, {
    ...stream,
    source,
    acknowledge: "manual",
    ...(isFramed && { checkItems: poolChecker(workers, observer) }),
  });
  try {
    for await (const { message, items } of batches) {
      observer.delivered?.(
        items.length,
        items.reduce((sum, item) => sum + item.byteLength, 0),
      );
      try {
        yield message;
      } finally {
        releaseMessage(message);
      }
    }
  } catch (error) {
    throw drain.aborted ? drain.reason : error;
  }
}

/** Hashes on the pool's threads. They copy what they hash; the copy is nobody's. */
function poolChecker(workers: WorkerPool, observer: PipelineObserver): ItemChecker {
  let scratch = new SharedArrayBuffer(SCRATCH_MIN_BYTES);
  return async (batch) => {
    const total = batch.files.reduce((sum, { size }) => sum + size, 0);
    requireSizes(batch, observer);
    if (scratch.byteLength < total) scratch = new SharedArrayBuffer(2 ** Math.ceil(Math.log2(total)));
    const memory = {
      kind: "shared",
      buffer: scratch,
      byteOffset: 0,
      byteLength: scratch.byteLength,
    } as const;
    const { buffer, offsets } = messageBuffer(batch.message);
    const results = await workers.run({
      input: buffer,
      items: jobItems(batch, offsets),
      output: memory,
      ring: memory,
      format: BYTES_FORMAT,
      processing: undefined,
      seed: 0n,
      epoch: batch.epoch,
    });
    requireHashes(batch, results, observer);
  };
}
