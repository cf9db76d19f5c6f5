/** A running stream as the body of a response. */
import { Code, ConnectError } from "@connectrpc/connect";
import { DataStreamError } from "../../../core/errors.ts";
import { SEND_PIECE_BYTES, STREAM_STALL_MS } from "../../../core/limits.ts";
import { errorFields, type Log } from "../../log.ts";
import { toConnectError } from "../connect-error.ts";
import type { StreamProtocol } from "./framing.ts";
import type { RunningStream } from "./open.ts";
import type { StreamEnd } from "./producer.ts";

/** Trailer: the response ended before the epoch did; go on with a request for this batch. */
export const CONTINUATION_TRAILER = "cyxcloud-continuation";

export function trailersOf(end: StreamEnd): Headers {
  const trailers = new Headers();
  if (end.kind === "continuation") trailers.set(CONTINUATION_TRAILER, String(end.batch));
  return trailers;
}

/**
 * The response of a stream that runs. The runtime asks for a piece when it has passed on the one before, so the
 * memory of a message is used again only then; nothing is ahead of the reader but what the producer allows.
 * A reader that takes nothing for `STREAM_STALL_MS` is cut off, and what it held is free.
 * @param deadline milliseconds that the client gave the whole call.
 */
export function streamResponse(
  stream: RunningStream,
  protocol: StreamProtocol,
  log: Log,
  deadline: number | undefined,
): Response {
  const stop = (): void => {
    if (timer !== undefined) clearTimeout(timer);
    clearTimeout(stall);
    stream.close();
  };
  let late = false;
  const timer =
    deadline === undefined
      ? undefined
      : setTimeout(() => {
          late = true;
          // The message that goes out stays readable: only a wait for the next one ends.
          stream.end(new DataStreamError("canceled", "The time that the client set for the call is over."));
        }, deadline);
  let stall: ReturnType<typeof setTimeout> | null = null;
  /** A reader that stands still is told nothing, as it would not read it: the connection is cut, which it can tell. */
  const awaitReader = (controller: ReadableStreamDefaultController<Uint8Array>): void => {
    stall = setTimeout(() => {
      controller.error(new Error("The reader of the stream stands still."));
      stop();
      log.info("stream_end", { ...stream.fields, end: "stalled", batches: stream.sent });
    }, STREAM_STALL_MS);
  };
  let rest: Uint8Array = new Uint8Array(0);
  const sendPiece = (controller: ReadableStreamDefaultController<Uint8Array>): void => {
    const piece = rest.subarray(0, SEND_PIECE_BYTES);
    rest = rest.subarray(piece.length);
    controller.enqueue(piece);
    awaitReader(controller);
  };
  const body = new ReadableStream<Uint8Array>(
    {
      start: awaitReader,
      // Nothing may be thrown in here: that would cut the connection without a word to the client.
      async pull(controller) {
        clearTimeout(stall);
        let last: Uint8Array;
        try {
          if (rest.length > 0) return sendPiece(controller);
          const next = await stream.next();
          if (next.kind === "batch") {
            rest = next.bytes;
            return sendPiece(controller);
          }
          last = protocol.end(trailersOf(next), undefined);
          log.info("stream_end", { ...stream.fields, end: next.kind, batches: stream.sent });
        } catch (thrown) {
          last = protocol.end(new Headers(), late ? deadlineExceeded() : reported(thrown, stream, log));
        }
        stop();
        controller.enqueue(last);
        controller.close();
      },
      cancel() {
        stop();
        log.info("stream_end", { ...stream.fields, end: "cancelled", batches: stream.sent });
      },
    },
    { highWaterMark: 0 },
  );
  return new Response(body, { headers: streamHeaders(protocol) });
}

/** A response that consists of nothing but an error. */
export function refusal(thrown: unknown, protocol: StreamProtocol): Response {
  const error = thrown instanceof ConnectError ? thrown : toConnectError(thrown);
  return new Response(protocol.end(new Headers(), error) as Uint8Array<ArrayBuffer>, {
    headers: streamHeaders(protocol),
  });
}

function reported(thrown: unknown, stream: RunningStream, log: Log): ConnectError {
  const error = DataStreamError.from(thrown);
  const level = error.fault === "caller" ? "info" : "error";
  log[level]("stream_end", { ...stream.fields, end: "error", batches: stream.sent, ...errorFields(error) });
  return toConnectError(error);
}

function deadlineExceeded(): ConnectError {
  return new ConnectError("The time that the client set for the call is over.", Code.DeadlineExceeded);
}

function streamHeaders({ contentType }: StreamProtocol): Record<string, string> {
  return { "content-type": contentType, "cache-control": "private, no-store, no-transform" };
}
