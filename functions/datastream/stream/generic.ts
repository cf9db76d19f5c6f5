/** StreamBatches for codecs without a path of their own (JSON): the same producer, its messages copied out. */
import { fromBinary } from "@bufbuild/protobuf";
import { DataStreamError } from "../../../core/errors.ts";
import { STREAM_STALL_MS } from "../../../core/limits.ts";
import { type BatchResponse, BatchResponseSchema, type StreamBatchesRequest } from "../../../proto/index.ts";
import { ENVELOPE_BYTES } from "./message.ts";
import { openStream, type StreamCall } from "./open.ts";
import { trailersOf } from "./response.ts";

/**
 * @param signal aborts when the client is gone; leaving the loop does not reach this generator in every transport.
 */
export async function* streamMessages(
  call: StreamCall,
  request: StreamBatchesRequest,
  signal: AbortSignal,
  trailers: Headers,
): AsyncGenerator<BatchResponse> {
  const stream = await openStream(call, request);
  const close = (): void => stream.close();
  let stall: ReturnType<typeof setTimeout> | null = null;
  signal.addEventListener("abort", close, { once: true });
  try {
    for (;;) {
      const next = await stream.next();
      if (next.kind !== "batch") {
        for (const [name, value] of trailersOf(next)) trailers.set(name, value);
        call.deps.log.info("stream_end", { ...stream.fields, end: next.kind, batches: stream.sent });
        return;
      }
      // The message's memory is used again, so what is decoded from it must lie elsewhere.
      const message = fromBinary(BatchResponseSchema, next.bytes.slice(ENVELOPE_BYTES));
      stall = setTimeout(() => {
        stream.end(new DataStreamError("canceled", "The reader of the stream stands still."));
        close();
      }, STREAM_STALL_MS);
      yield message;
      clearTimeout(stall);
    }
  } finally {
    clearTimeout(stall);
    signal.removeEventListener("abort", close);
    stream.close();
  }
}
