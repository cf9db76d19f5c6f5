import { Worker } from "node:worker_threads";
import { DataStreamError } from "../../core/errors.ts";
import type { Piece, PieceAnswer, PieceFailures, PieceMessage } from "./messages.ts";

interface Pending {
  readonly piece: Piece;
  readonly resolve: (failures: PieceFailures) => void;
  readonly reject: (error: DataStreamError) => void;
}

/** One thread, and the pieces it has. When it ends, for whatever reason, they all fail. */
export class DecoderThread {
  readonly #worker: Worker;
  readonly #pending = new Map<number, Pending>();
  readonly #ended: Promise<void>;
  #next = 0;
  #cause: unknown;
  #isClosing = false;

  /**
   * @param file what the thread runs.
   * @param onEnd called before the pieces fail, at least once: the thread takes no more.
   */
  constructor(file: URL, onEnd: () => void) {
    this.#worker = new Worker(file, { name: "cyxcloud-decoder" });
    this.#worker.on("message", ({ id, failures }: PieceAnswer) => {
      const pending = this.#pending.get(id);
      this.#pending.delete(id);
      pending?.resolve(failures);
    });
    this.#worker.on("error", (error) => {
      this.#cause = error;
      onEnd();
    });
    // A message that cannot be read would never be answered.
    this.#worker.on("messageerror", (error) => {
      this.#cause = error;
      void this.#worker.terminate();
    });
    this.#ended = new Promise((resolve) => {
      this.#worker.on("exit", () => {
        onEnd();
        const lost = [...this.#pending.values()];
        this.#pending.clear();
        for (const { piece, reject } of lost) reject(this.#error(piece));
        resolve();
      });
    });
  }

  /** Pieces that it has and did not answer. */
  get load(): number {
    return this.#pending.size;
  }

  /** @throws DataStreamError `internal` when the thread ends first, `canceled` when it was closed. */
  run(piece: Piece): Promise<PieceFailures> {
    return new Promise((resolve, reject) => {
      const id = this.#next++;
      this.#pending.set(id, { piece, resolve, reject });
      this.#worker.postMessage({ id, piece } satisfies PieceMessage);
    });
  }

  /** Resolves when the thread is gone, and touches no memory any more. */
  async close(): Promise<void> {
    this.#isClosing = true;
    await this.#worker.terminate();
    await this.#ended;
  }

  #error({ paths }: Piece): DataStreamError {
    if (this.#isClosing) return new DataStreamError("canceled", "The decoder threads were closed.");
    const reason = this.#cause instanceof Error ? this.#cause.message : "it exited";
    return new DataStreamError(
      "internal",
      `A decoder thread ended unexpectedly (${reason}) while it had ${paths.length} items, the first of them ${paths[0]}. Another takes its place.`,
      { cause: this.#cause },
    );
  }
}
