/** Answers with stored bytes: conditional requests, ranges, HEAD, and headers that keep browsers from running them. */
import { toHex } from "../../core/bytes.ts";
import { DataStreamError } from "../../core/errors.ts";
import type { ByteRange } from "../../storage/object-reader.ts";
import { errorFields, type Log } from "../log.ts";
import { HttpError } from "./problem.ts";
import { parseRange } from "./range.ts";

export interface StoredBytes {
  readonly size: number;
  /** BLAKE3 of all bytes; becomes the strong ETag. */
  readonly contentHash: Uint8Array;
  readonly lastModified?: Date;
  readonly headers?: Readonly<Record<string, string>>;
  /** Opens the bytes of a range, or all. Not called where the answer has no body. */
  open(range?: ByteRange): ReadableStream<Uint8Array>;
}

/**
 * 200, 206, or 304, for GET and HEAD. Never stored by shared caches. A failure before the first byte is thrown and
 * becomes a problem. NOT guaranteed: that a later one reaches the client as more than a cut connection.
 * @throws HttpError 416 for a range behind the end; what opening and reading throw.
 */
export async function answerBytes(request: Request, stored: StoredBytes, log: Log): Promise<Response> {
  const etag = `"${toHex(stored.contentHash)}"`;
  const headers = new Headers({
    "content-type": "application/octet-stream",
    "content-disposition": "attachment",
    "accept-ranges": "bytes",
    "cache-control": "private, no-cache",
    etag,
    ...(stored.lastModified && { "last-modified": stored.lastModified.toUTCString() }),
    ...stored.headers,
  });
  if (matches(request.headers.get("if-none-match"), etag))
    return new Response(null, { status: 304, headers });

  const range = wantedRange(request, etag, stored.size);
  if (range === "unsatisfiable") {
    throw new HttpError(416, "invalid_argument", `Range: the content has ${stored.size} bytes.`, {
      details: { field: "Range", limit: stored.size },
      headers: { "content-range": `bytes */${stored.size}`, "accept-ranges": "bytes" },
    });
  }
  const length = range === undefined ? stored.size : range.length;
  if (range)
    headers.set("content-range", `bytes ${range.offset}-${range.offset + range.length - 1}/${stored.size}`);
  headers.set("content-length", `${length}`);
  const status = range ? 206 : 200;
  if (request.method === "HEAD") return new Response(null, { status, headers });
  if (length === 0) return new Response("", { status, headers });
  return new Response(await begun(stored.open(range), length, log), { status, headers });
}

function wantedRange(request: Request, etag: string, size: number): ReturnType<typeof parseRange> {
  // A resumed download must not continue with bytes of another version.
  const condition = request.headers.get("if-range");
  if (condition !== null && condition !== etag) return undefined;
  return request.method === "GET" ? parseRange(request.headers.get("range"), size) : undefined;
}

/** Weak comparison, as If-None-Match asks for. */
function matches(header: string | null, etag: string): boolean {
  if (header === null) return false;
  return header.split(",").some((each) => each.trim() === "*" || each.trim().replace(/^W\//, "") === etag);
}

/**
 * The body, when its first bytes are there. The platform sends Content-Length only for a body of known length.
 * @throws what the first read throws.
 */
async function begun(
  body: ReadableStream<Uint8Array>,
  length: number,
  log: Log,
): Promise<ReadableStream<Uint8Array>> {
  const reader = body.getReader();
  const first = await reader.read();
  reader.releaseLock();
  const { readable, writable } = new FixedLengthStream(length);
  const send = async (): Promise<void> => {
    const writer = writable.getWriter();
    if (!first.done) await writer.write(first.value);
    writer.releaseLock();
    await body.pipeTo(writable);
  };
  send().catch((thrown: unknown) => {
    if (thrown instanceof DataStreamError && thrown.fault !== "caller") {
      log.error("cut_answer", errorFields(thrown));
    } else {
      // The client went away, perhaps before the body was piped.
      if (!body.locked) body.cancel().catch(() => {});
    }
  });
  return readable;
}
