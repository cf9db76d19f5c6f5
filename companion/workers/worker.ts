/** The file that a decoder thread runs: `WorkerPool` starts it. */
import { parentPort } from "node:worker_threads";
import type { PieceAnswer, PieceMessage } from "./messages.ts";
import { PieceWorker } from "./piece-worker.ts";

const port = parentPort;
if (port === null) throw new Error("This file runs as a worker thread.");
const worker = await PieceWorker.create();
port.on("message", ({ id, piece }: PieceMessage) => {
  port.postMessage({ id, failures: worker.run(piece) } satisfies PieceAnswer);
});
