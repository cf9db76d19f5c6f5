import { Worker } from "node:worker_threads";
import { DataStreamError } from "../../core/errors.ts";
import { DECODE_ITEM_MS } from "../../core/limits.ts";
import { neverReuse } from "../memory/reference.ts";
import { HangWatch, type Every } from "./hang-watch.ts";
import {
  PROGRESS_BYTES,
  type Piece,
  type PieceAnswer,
  type PieceFailures,
  type PieceMessage,
  type ThreadData,
} from "./messages.ts";

interface Pending {
  readonly piece: Piece;
  readonly resolve: (failures: PieceFailures) => void;
  readonly reject: (error: DataStreamError) => void;
}

/** One thread, and the pieces it has. When it ends, for whatever reason, they all fail. */
export class DecoderThread {
  readonly #worker: Worker;
  readonly #pending = new Map<number, Pending>();
  readonly #ended: PromiseWithResolvers<void> = Promise.withResolvers<void>();
  /** Items begun, and the place of the one that was begun last in its piece. */
  readonly #progress = new Int32Array(new SharedArrayBuffer(PROGRESS_BYTES));
  readonly #watch: HangWatch;
  #next = 0;
  #cause: unknown;
  #isClosing = false;

  /**
   * @param file what the thread runs.
   * @param onEnd called before the pieces fail, at least once: the thread takes no more.
   */
  constructor(file: URL, every: Every, onEnd: () => void) {
    const workerData: ThreadData = { progress: this.#progress };
    this.#worker = new Worker(file, { name: "cyxcloud-decoder", workerData });
    this.#watch = new HangWatch(
      every,
      () => Atomics.load(this.#progress, 0),
      () => {
        this.#cause = this.#hangError();
        onEnd();
        void this.#worker.terminate();
      },
      () => this.#giveUp(),
    );
    this.#worker.on("message", ({ id, failures }: PieceAnswer) => {
      const pending = this.#pending.get(id);
      this.#pending.delete(id);
      if (this.#pending.size === 0) this.#watch.stop();
      pending?.resolve(failures);
    });
    this.#worker.on("error", (error) => {
      this.#cause ??= error;
      onEnd();
    });
    // A message that cannot be read would never be answered.
    this.#worker.on("messageerror", (error) => {
      this.#cause = error;
      void this.#worker.terminate();
    });
    this.#worker.on("exit", () => {
      onEnd();
      process.off("exit", endProcess);
      this.#end();
    });
  }

  /** Pieces that it has and did not answer. */
  get load(): number {
    return this.#pending.size;
  }

  /** @throws DataStreamError `internal` when the thread ends or hangs first, `canceled` when it was closed. */
  run(piece: Piece): Promise<PieceFailures> {
    return new Promise((resolve, reject) => {
      const id = this.#next++;
      this.#pending.set(id, { piece, resolve, reject });
      this.#watch.start();
      this.#worker.postMessage({ id, piece } satisfies PieceMessage);
    });
  }

  /** Resolves when the thread is gone, and touches no memory any more, or was given up. */
  async close(): Promise<void> {
    this.#isClosing = true;
    void this.#worker.terminate();
    await this.#ended.promise;
  }

  /** Not even terminating ends it: it is within a library, and may write to the memory it was given whenever it likes. */
  #giveUp(): void {
    for (const { piece } of this.#pending.values()) neverReuse(piece.ring);
    this.#worker.unref();
    process.on("exit", endProcess);
    this.#end();
  }

  #end(): void {
    this.#watch.stop();
    const lost = [...this.#pending.values()];
    this.#pending.clear();
    for (const { piece, reject } of lost) reject(this.#error(piece));
    this.#ended.resolve();
  }

  #error({ paths }: Piece): DataStreamError {
    if (this.#isClosing) return new DataStreamError("canceled", "The decoder threads were closed.");
    if (this.#cause instanceof DataStreamError) return this.#cause;
    const reason = this.#cause instanceof Error ? this.#cause.message : "it exited";
    return new DataStreamError(
      "internal",
      `A decoder thread ended unexpectedly (${reason}) while it had ${paths.length} items, the first of them ${paths[0]}. Another takes its place.`,
      { cause: this.#cause },
    );
  }

  #hangError(): DataStreamError {
    const [running] = this.#pending.values();
    const path = running?.piece.paths[Atomics.load(this.#progress, 1)] ?? "an item";
    return new DataStreamError(
      "internal",
      `${path}: it was not decoded within ${DECODE_ITEM_MS / 1000} seconds. Its thread was ended, and another takes its place.`,
      { details: { path, limit: DECODE_ITEM_MS } },
    );
  }
}

/** A process that ends waits for its threads; one of them would never let it. */
function endProcess(): void {
  process.kill(process.pid, "SIGKILL");
}
