import type { Processing } from "../../core/augment/steps.ts";
import type { DatasetSchema } from "../../core/dataset/schema.ts";
import { DataStreamError, invalidArgument } from "../../core/errors.ts";
import { DECODE_THREADS_MAX } from "../../core/limits.ts";
import { type OutputFormat, outputFormat } from "../decode/output-format.ts";
import { DecoderThread } from "./decoder-thread.ts";
import { platformEvery, type Every } from "./hang-watch.ts";
import { type BatchJob, checkJob, type ItemResult, outputLengths } from "./job.ts";
import { type Piece, type PieceFailures, pieceOf, planOf } from "./messages.ts";
import { splitByBytes } from "./split.ts";

/** A thread has the next piece before it has finished one, so that it never waits for a message. */
const PIECES_AHEAD = 2;

export interface WorkerPoolOptions {
  /** The file that threads run, where it is not `worker.ts` beside this one: in a bundle it has another name. */
  readonly file?: URL;
  /** How time passes for threads that hang. */
  readonly every?: Every;
}

interface QueuedPiece {
  readonly piece: Piece;
  readonly resolve: (failures: PieceFailures) => void;
  readonly reject: (error: DataStreamError) => void;
}

/**
 * Threads that check and decode batches for all streams of a process. Pieces of batches are worked on in the order in
 * which the batches came, so several batches may be given at once, and none starves. Threads start when there is work
 * for them; each has its own bounded kernel memory.
 */
export class WorkerPool {
  readonly #file: URL;
  readonly #every: Every;
  readonly #threads: (DecoderThread | undefined)[];
  readonly #queue: QueuedPiece[] = [];
  #closing: Promise<void> | undefined;

  constructor(threads: number, options: WorkerPoolOptions = {}) {
    if (!Number.isInteger(threads) || threads < 1 || threads > DECODE_THREADS_MAX)
      throw invalidArgument("threads", `must be 1 to ${DECODE_THREADS_MAX}.`, { limit: DECODE_THREADS_MAX });
    this.#threads = Array.from({ length: threads });
    this.#file = options.file ?? new URL("./worker.ts", import.meta.url);
    this.#every = options.every ?? platformEvery;
  }

  /**
   * Hashes and decodes the items of a batch into their places in the output: item i at i × `itemBytes`, or for kind
   * "bytes" one after the other. The place of an item that failed holds anything.
   * @returns one result for each item.
   * @throws DataStreamError `internal` when a thread ends unexpectedly, or hangs at one item for `DECODE_ITEM_MS`;
   *   `canceled` when the pool is closed. Only after no thread touches the slot any more, or with the ring's memory set
   *   aside where a thread cannot be ended: see `neverReuse`.
   */
  async run(job: BatchJob): Promise<readonly ItemResult[]> {
    const lengths = outputLengths(job);
    checkJob(job, lengths);
    const plan = planOf(job);
    const ends = splitByBytes(
      job.items.map(({ length }) => length),
      this.#threads.length,
    );
    const results: ItemResult[] = job.items.map(() => ({ ok: true }));
    const pieces = ends.map(async (end, i) => {
      const first = ends[i - 1] ?? 0;
      for (const [index, failure] of await this.#submit(pieceOf(job, plan, lengths, first, end)))
        results[first + index] = failure;
    });
    const failed = (await Promise.allSettled(pieces)).find(({ status }) => status === "rejected");
    if (failed?.status === "rejected") throw failed.reason as DataStreamError;
    return results;
  }

  /**
   * What a stream delivers, from the header of its first item: see `outputFormat`. The item is not checked; when it
   * turns out to be another, so may the format.
   * @throws DataStreamError `invalid_argument`.
   */
  async probe(
    first: Uint8Array,
    path: string,
    schema: DatasetSchema,
    processing: Processing | undefined,
  ): Promise<OutputFormat> {
    return Promise.resolve(outputFormat(schema, processing, { path, bytes: first }));
  }

  /** Ends all threads; what they have and what waits fails with `canceled`. Idempotent. */
  close(): Promise<void> {
    return (this.#closing ??= this.#close());
  }

  async #close(): Promise<void> {
    for (const { reject } of this.#queue.splice(0)) reject(closedError());
    await Promise.all(this.#threads.map((thread) => thread?.close() ?? Promise.resolve()));
  }

  #submit(piece: Piece): Promise<PieceFailures> {
    if (this.#closing !== undefined) return Promise.reject(closedError());
    return new Promise((resolve, reject) => {
      this.#queue.push({ piece, resolve, reject });
      this.#dispatch();
    });
  }

  /** Gives pieces to the threads that have least, one at a time so that none gets two where another has none. */
  #dispatch(): void {
    while (this.#closing === undefined && this.#queue.length > 0) {
      const loads = this.#threads.map((thread) => thread?.load ?? 0);
      const least = loads.indexOf(Math.min(...loads));
      if ((loads[least] as number) >= PIECES_AHEAD) return;
      const thread = (this.#threads[least] ??= this.#start(least));
      const { piece, resolve, reject } = this.#queue.shift() as QueuedPiece;
      void thread
        .run(piece)
        .then(resolve, reject)
        .finally(() => this.#dispatch());
    }
  }

  #start(place: number): DecoderThread {
    const thread: DecoderThread = new DecoderThread(this.#file, this.#every, () => {
      if (this.#threads[place] === thread) this.#threads[place] = undefined;
    });
    return thread;
  }
}

function closedError(): DataStreamError {
  return new DataStreamError("canceled", "The decoder threads were closed.");
}
