import { invalidArgument } from "../../core/errors.ts";
import { HANDOFF_LINE_MAX_BYTES } from "../../core/limits.ts";
import { fromUtf8 } from "../../core/text.ts";

const LINE_FEED = 10;

/** Cuts a byte stream into lines of text, each at most `HANDOFF_LINE_MAX_BYTES` long with its line feed. */
export class LineReader {
  readonly #parts: Uint8Array[] = [];
  #bytes = 0;

  /**
   * Takes the next bytes; yields the lines that they complete, without the line feed.
   * @throws DataStreamError `invalid_argument` for a line that is too long or no UTF-8.
   */
  *push(chunk: Uint8Array): Generator<string, void, undefined> {
    let start = 0;
    for (let end = chunk.indexOf(LINE_FEED); end >= 0; end = chunk.indexOf(LINE_FEED, start)) {
      this.#add(chunk.subarray(start, end + 1));
      start = end + 1;
      yield this.#take();
    }
    // The chunk's memory is the socket's, which may use it again.
    if (start < chunk.length) this.#add(chunk.slice(start));
  }

  #add(part: Uint8Array): void {
    this.#bytes += part.length;
    if (this.#bytes > HANDOFF_LINE_MAX_BYTES)
      throw invalidArgument("message", `a line has at most ${HANDOFF_LINE_MAX_BYTES} bytes.`, {
        limit: HANDOFF_LINE_MAX_BYTES,
      });
    this.#parts.push(part);
  }

  #take(): string {
    const line = fromUtf8(Buffer.concat(this.#parts.splice(0)).subarray(0, this.#bytes - 1));
    this.#bytes = 0;
    if (line === undefined) throw invalidArgument("message", "is no UTF-8.");
    return line;
  }
}
