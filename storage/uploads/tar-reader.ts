/** Files of a tar archive (POSIX.1-2024 pax, ustar, GNU long names) while it streams. */
import { createTarDecoder, type ParsedTarEntry } from "modern-tar";
import { pathViolation } from "../../core/dataset/path.ts";
import { DataStreamError, invalidArgument } from "../../core/errors.ts";
import { TAR_PART_MAX_ENTRIES } from "../../core/limits.ts";
import { quoted } from "../../core/text.ts";
import { PieceSource, type PullPiece } from "../byte-source.ts";

export interface TarFile {
  readonly path: string;
  readonly size: number;
  /** Its bytes; must be read to the end before the next file is asked for. */
  readonly source: PieceSource;
}

/**
 * The regular files in order. Directories are passed over; a link, a device or a sparse file is refused by name.
 * @param pull the archive's bytes, read to the end.
 * @param mostFiles how many there may be.
 * @throws `invalid_argument` naming body where the bytes are no whole archive; what `pull` throws.
 */
export async function* readTar(
  pull: PullPiece,
  mostFiles: number = TAR_PART_MAX_ENTRIES,
): AsyncGenerator<TarFile> {
  const decoder = createTarDecoder({ strict: true });
  const feeding = feed(pull, decoder.writable);
  // Its failure surfaces through the decoder; without this it would count as unhandled until then.
  feeding.catch(() => undefined);
  const entries = decoder.readable.getReader();
  try {
    for (let files = 0; ;) {
      const { done, value: entry } = await entries.read().catch(rethrow);
      if (done) break;
      if (entry.header.type === "directory") continue;
      checkEntry(entry);
      if (++files > mostFiles) {
        throw invalidArgument("body", `has more than ${mostFiles} files. Cut it into more parts.`, {
          limit: mostFiles,
        });
      }
      yield { path: entry.header.name, size: entry.header.size, source: entrySource(entry) };
    }
    await feeding.catch(rethrow);
  } finally {
    // Unblocks the feeder where the caller stopped early.
    await entries
      .cancel(new DataStreamError("canceled", "The archive is not read further."))
      .catch(() => undefined);
  }
}

async function feed(pull: PullPiece, writable: WritableStream<Uint8Array>): Promise<void> {
  const writer = writable.getWriter();
  writer.closed.catch(() => undefined);
  try {
    for (let piece = await pull(); piece !== undefined; piece = await pull()) await writer.write(piece);
    await writer.close();
  } catch (error) {
    await writer.abort(error).catch(() => undefined);
    throw error;
  }
}

function entrySource({ body }: ParsedTarEntry): PieceSource {
  const reader = body.getReader();
  return new PieceSource(async () => (await reader.read().catch(rethrow)).value);
}

function checkEntry({ header }: ParsedTarEntry): void {
  const { name, type = "file", size, pax = {} } = header;
  const refuse = (reason: string): DataStreamError =>
    invalidArgument("path", `${quoted(name)} ${reason}`, { path: name.toWellFormed().slice(0, 2048) });
  const violation = pathViolation(name);
  if (violation !== undefined) throw refuse(`${violation}. Use a relative path with '/' between names.`);
  // The decoder reads names as UTF-8 and puts this character where they are not.
  if (name.includes("\uFFFD")) throw refuse("is not valid UTF-8. Rename the file.");
  if (type !== "file") throw refuse(`is a ${type}. Only regular files and directories can be uploaded.`);
  if (Object.keys(pax).some((key) => key.startsWith("GNU.sparse.")))
    throw refuse("is a sparse file. Make the archive without --sparse.");
  if (!Number.isSafeInteger(size) || size < 0) throw refuse("has no valid size.");
}

/** The decoder's own errors say what is wrong with the archive; ours pass through it unchanged. */
function rethrow(error: unknown): never {
  if (error instanceof DataStreamError) throw error;
  const reason = error instanceof Error ? error.message.replace(/\.$/, "") : "unreadable";
  throw invalidArgument(
    "body",
    `is not a whole tar archive (${reason}). Make the archive again, and send it whole.`,
  );
}
