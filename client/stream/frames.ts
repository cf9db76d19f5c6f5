import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { DataStreamError } from "../../core/errors.ts";
import { BATCH_MAX_BYTES } from "../../core/limits.ts";
import {
  BatchResponseSchema,
  StreamBatchesRequestSchema,
  type BatchResponse,
  type StreamBatchesRequest,
} from "../../proto/index.ts";
import { knownCode, text } from "../http.ts";

/**
 * Connect's streaming envelopes (https://connectrpc.com/docs/protocol/#streaming-rpcs):
 * a flags byte, a big-endian u32 length, the message. Own code because the general
 * transports copy every message several times.
 */
export const HEADER_BYTES = 5;
export const FLAG_COMPRESSED = 1;
export const FLAG_END = 2;
/** Largest message that is accepted: a full batch and its hashes, indices and framing. */
export const MESSAGE_MAX_BYTES: number = BATCH_MAX_BYTES + 8 * 1024 * 1024;

export const STREAM_CONTENT_TYPE = "application/connect+proto";
export const CONTINUATION_TRAILER = "cyxcloud-continuation";

/** What ended a response: complete, or to be continued at a batch. */
export interface StreamEnd {
  readonly continuation: number | undefined;
}

export function encodeRequest(request: StreamBatchesRequest): Uint8Array<ArrayBuffer> {
  const message = toBinary(StreamBatchesRequestSchema, request);
  const framed = new Uint8Array(HEADER_BYTES + message.byteLength);
  new DataView(framed.buffer).setUint32(1, message.byteLength);
  framed.set(message, HEADER_BYTES);
  return framed;
}

/**
 * Yields the batches of one response; returns how it ended. Item bytes are views of one
 * buffer per message, which nothing else uses.
 * @throws DataStreamError with the code that the gateway sent; `unavailable` when the
 *   connection broke before the end of the stream.
 */
export async function* readBatches(
  body: ReadableStream<Uint8Array>,
): AsyncGenerator<BatchResponse, StreamEnd> {
  const source = new ByteSource(body);
  try {
    for (;;) {
      const header = await source.take(HEADER_BYTES);
      const flags = header[0] ?? 0;
      const length = new DataView(header.buffer).getUint32(1);
      if ((flags & FLAG_COMPRESSED) !== 0) throw broken("a compressed message although none was negotiated");
      if (length > MESSAGE_MAX_BYTES)
        throw broken(`a message of ${length} bytes; ${MESSAGE_MAX_BYTES} is the most`);
      const message = await source.take(length);
      if ((flags & FLAG_END) !== 0) return parseEnd(message);
      yield parseBatch(message);
    }
  } finally {
    await source.close();
  }
}

function parseBatch(message: Uint8Array): BatchResponse {
  try {
    return fromBinary(BatchResponseSchema, message);
  } catch (cause) {
    throw new DataStreamError("data_loss", "The gateway sent a message that is no batch.", { cause });
  }
}

/**
 * What the last envelope of a response says.
 * @throws DataStreamError with the gateway's code where it ended the stream with an error; `unavailable` where that
 *   cannot be read.
 */
export function parseEnd(message: Uint8Array): StreamEnd {
  let end: {
    error?: { code?: unknown; message?: unknown } | null;
    metadata?: Record<string, unknown> | null;
  };
  try {
    const parsed: unknown = JSON.parse(new TextDecoder().decode(message));
    if (typeof parsed !== "object" || parsed === null) throw new TypeError("It is no object.");
    end = parsed;
  } catch (cause) {
    throw new DataStreamError("unavailable", "The gateway ended the stream in a form that cannot be read.", {
      cause,
    });
  }
  if (end.error !== undefined && end.error !== null) {
    throw new DataStreamError(
      knownCode(end.error.code) ?? "internal",
      text(end.error.message) ?? "The gateway ended the stream.",
    );
  }
  const values = end.metadata?.[CONTINUATION_TRAILER];
  if (values === undefined || values === null) return { continuation: undefined };
  const value = Array.isArray(values) ? text(values[0]) : undefined;
  if (value === undefined || !/^\d{1,15}$/.test(value)) throw broken("a malformed continuation");
  return { continuation: Number(value) };
}

/** What came is no answer of a gateway. */
export function broken(what: string): DataStreamError {
  return new DataStreamError("unavailable", `The gateway's answer cannot be read: it holds ${what}.`);
}

/** Takes exact lengths from a stream of arbitrary pieces, copying each byte once. */
class ByteSource {
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  #piece: Uint8Array = new Uint8Array(0);

  constructor(body: ReadableStream<Uint8Array>) {
    this.#reader = body.getReader();
  }

  async take(length: number): Promise<Uint8Array<ArrayBuffer>> {
    const taken = new Uint8Array(length);
    for (let filled = 0; filled < length;) {
      if (this.#piece.byteLength === 0) await this.#next();
      const part = this.#piece.subarray(0, length - filled);
      taken.set(part, filled);
      filled += part.byteLength;
      this.#piece = this.#piece.subarray(part.byteLength);
    }
    return taken;
  }

  async #next(): Promise<void> {
    let result: ReadableStreamReadResult<Uint8Array>;
    try {
      result = await this.#reader.read();
    } catch (cause) {
      throw new DataStreamError("unavailable", "The connection to the gateway broke.", { cause });
    }
    if (result.done) throw new DataStreamError("unavailable", "The connection ended before the stream did.");
    this.#piece = result.value;
  }

  async close(): Promise<void> {
    await this.#reader.cancel().catch(() => undefined);
  }
}
