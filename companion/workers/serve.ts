import { parentPort } from "node:worker_threads";
import type { Piece, PieceAnswer, PieceFailures, PieceMessage } from "./messages.ts";

/** Answers the pool's messages on this thread. What `run` throws ends the thread, and the pool starts another. */
export function serve(run: (piece: Piece) => PieceFailures): void {
  const port = parentPort;
  if (port === null) throw new Error("This file runs as a worker thread.");
  port.on("message", ({ id, piece }: PieceMessage) => {
    port.postMessage({ id, failures: run(piece) } satisfies PieceAnswer);
  });
}
