/** The file that a decoder thread runs: `WorkerPool` starts it. */
import { PieceWorker } from "./piece-worker.ts";
import { serve } from "./serve.ts";

const worker = await PieceWorker.create();
serve((piece, begins) => worker.run(piece, begins));
