import { parentPort, workerData } from "node:worker_threads";
import type { Piece, PieceAnswer, PieceFailures, PieceMessage, ThreadData } from "./messages.ts";

/**
 * Answers the pool's messages on this thread. What `run` throws ends the thread, and the pool starts another.
 * @param run says which item of the piece it begins, before it does.
 */
export function serve(run: (piece: Piece, begins: (item: number) => void) => PieceFailures): void {
  const port = parentPort;
  if (port === null) throw new Error("This file runs as a worker thread.");
  const { progress } = workerData as ThreadData;
  const begins = (item: number): void => {
    Atomics.store(progress, 1, item);
    Atomics.add(progress, 0, 1);
  };
  port.on("message", ({ id, piece }: PieceMessage) => {
    begins(0);
    port.postMessage({ id, failures: run(piece, begins) } satisfies PieceAnswer);
  });
}
