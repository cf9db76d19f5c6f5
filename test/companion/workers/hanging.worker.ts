/** A decoder thread that never comes back from some items: from JavaScript, or from a call that only the system could end. */
import { openSync, writeSync } from "node:fs";
import { PieceWorker } from "../../../companion/workers/piece-worker.ts";
import { serve } from "../../../companion/workers/serve.ts";

const worker = await PieceWorker.create();
const hangs = new BroadcastChannel("hangs");
serve((piece, begins) => {
  for (const [i, path] of piece.paths.entries()) {
    begins(i);
    if (!/loop$|pipe$/.test(path)) continue;
    hangs.postMessage(path);
    // More than a pipe holds.
    if (path.endsWith("pipe")) writeSync(openSync(path, "w"), new Uint8Array(1024 * 1024));
    else for (;;);
  }
  return worker.run(piece);
});
