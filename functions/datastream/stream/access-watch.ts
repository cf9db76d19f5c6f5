/** Looks after the right to a running stream, whatever its reader does. */
import { DataStreamError } from "../../../core/errors.ts";
import type { Windows } from "./windows.ts";

/**
 * Asks once a second whether token and trust still hold; the stream's own questions count. Fails closed: an answer
 * that does not come ends the stream too.
 * @param onEnd called at most once.
 * @returns what ends the watch.
 */
export function watchAccess(
  windows: Pick<Windows, "checkAccess" | "nextCheckMs">,
  onEnd: (error: DataStreamError) => void,
): () => void {
  let watching = true;
  const check = async (): Promise<void> => {
    try {
      await windows.checkAccess();
      if (watching) timer = wait();
    } catch (thrown) {
      if (watching) onEnd(DataStreamError.from(thrown));
      watching = false;
    }
  };
  const wait = (): ReturnType<typeof setTimeout> => setTimeout(() => void check(), windows.nextCheckMs);
  let timer = wait();
  return () => {
    watching = false;
    clearTimeout(timer);
  };
}
