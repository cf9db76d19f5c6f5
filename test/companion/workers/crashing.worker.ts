/** A decoder thread that dies of the items that ask for it, as one might of a bug or for want of memory. */
import { PieceWorker } from "../../../companion/workers/piece-worker.ts";
import { serve } from "../../../companion/workers/serve.ts";

const worker = await PieceWorker.create();
serve((piece) => {
  if (piece.paths.some((path) => path.endsWith("exit"))) process.exit(3);
  if (piece.paths.some((path) => path.endsWith("throw"))) throw new RangeError("deliberate");
  return worker.run(piece);
});
