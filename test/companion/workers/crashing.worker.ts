/** A decoder thread that dies of the items that ask for it, as one might of a bug or for want of memory. */
import type { Piece, PieceFailures } from "../../../companion/workers/messages.ts";
import { PieceWorker } from "../../../companion/workers/piece-worker.ts";

const whole = PieceWorker.prototype.run.call.bind(PieceWorker.prototype.run) as (
  worker: PieceWorker,
  piece: Piece,
) => PieceFailures;
PieceWorker.prototype.run = function run(piece: Piece): PieceFailures {
  if (piece.paths.some((path) => path.endsWith("exit"))) process.exit(3);
  if (piece.paths.some((path) => path.endsWith("throw"))) throw new RangeError("deliberate");
  return whole(this, piece);
};
await import("../../../companion/workers/worker.ts");
