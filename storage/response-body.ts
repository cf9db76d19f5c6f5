/** The part of a BYOB reader that workerd adds: it resolves once at least `min` bytes are there. */
interface AtLeastReader {
  readAtLeast?(min: number, view: Uint8Array): Promise<ReadableStreamReadResult<Uint8Array>>;
}

/**
 * Reads exactly `length` bytes of a body into the memory of `into`, in one call where the platform
 * allows. `into` starts at byte 0 of its buffer, which may be transferred.
 * @returns the bytes, or undefined when the body ends before them. What follows them is cancelled.
 */
export async function readBody(
  body: ReadableStream<Uint8Array>,
  length: number,
  into: Uint8Array<ArrayBuffer>,
): Promise<Uint8Array<ArrayBuffer> | undefined> {
  const reader = byobReader(body);
  return reader === undefined ? readCopying(body, length, into) : readInto(reader, length, into);
}

/** Undefined when the stream is not a byte stream, as with bodies that a proxy passes on. */
function byobReader(body: ReadableStream<Uint8Array>): ReadableStreamBYOBReader | undefined {
  try {
    return body.getReader({ mode: "byob" });
  } catch {
    return undefined;
  }
}

async function readInto(
  reader: ReadableStreamBYOBReader & AtLeastReader,
  length: number,
  into: Uint8Array<ArrayBuffer>,
): Promise<Uint8Array<ArrayBuffer> | undefined> {
  let buffer = into.buffer;
  let filled = 0;
  while (filled < length) {
    const view = new Uint8Array(buffer, filled, length - filled);
    const result =
      reader.readAtLeast === undefined
        ? await reader.read(view)
        : await reader.readAtLeast(length - filled, view);
    const value = result.value as Uint8Array<ArrayBuffer> | undefined;
    if (value !== undefined) {
      buffer = value.buffer;
      filled += value.byteLength;
    }
    if (result.done || value === undefined) break;
  }
  // Tells the other side that nobody reads on. The answer does not matter any more.
  reader.cancel().catch(() => undefined);
  return filled === length ? new Uint8Array(buffer, 0, length) : undefined;
}

async function readCopying(
  body: ReadableStream<Uint8Array>,
  length: number,
  into: Uint8Array<ArrayBuffer>,
): Promise<Uint8Array<ArrayBuffer> | undefined> {
  const reader = body.getReader();
  let filled = 0;
  while (filled < length) {
    const { done, value } = await reader.read();
    if (done) break;
    const piece = value.subarray(0, length - filled);
    into.set(piece, filled);
    filled += piece.byteLength;
  }
  reader.cancel().catch(() => undefined);
  return filled === length ? into.subarray(0, length) : undefined;
}
