/** The two protocols that the hot path speaks: how a request comes in, and how a response ends. */
import { fromBinary } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import { compressedFlag, encodeEnvelope } from "@connectrpc/connect/protocol";
import { endStreamFlag, endStreamToJson } from "@connectrpc/connect/protocol-connect";
import { setTrailerStatus, trailerFlag, trailerSerialize } from "@connectrpc/connect/protocol-grpc-web";
import { invalidArgument } from "../../../core/errors.ts";
import { SERVICE_BODY_MAX_BYTES } from "../../../core/limits.ts";
import { type StreamBatchesRequest, StreamBatchesRequestSchema } from "../../../proto/index.ts";
import { gunzip, readBounded } from "../gzip.ts";
import { ENVELOPE_BYTES } from "./message.ts";

export interface StreamProtocol {
  /** Of the response. */
  readonly contentType: string;
  /** Request header that names how the message is compressed. */
  readonly encodingHeader: string;
  /** The last frame: the error, if any, and the trailers. */
  end(trailers: Headers, error: ConnectError | undefined): Uint8Array;
}

const connect: StreamProtocol = {
  contentType: "application/connect+proto",
  encodingHeader: "connect-content-encoding",
  end(trailers, error) {
    const json = JSON.stringify(endStreamToJson(trailers, error, undefined));
    return encodeEnvelope(endStreamFlag, new TextEncoder().encode(json));
  },
};

const grpcWeb: StreamProtocol = {
  contentType: "application/grpc-web+proto",
  encodingHeader: "grpc-encoding",
  end(trailers, error) {
    return encodeEnvelope(trailerFlag, trailerSerialize(setTrailerStatus(new Headers(trailers), error)));
  },
};

/** The protocol of a request whose messages are binary; undefined for everything that Connect's own handlers serve. */
export function streamProtocol(headers: Headers): StreamProtocol | undefined {
  switch (mediaType(headers)) {
    case "application/connect+proto":
      return connect;
    case "application/grpc-web":
    case "application/grpc-web+proto":
      return grpcWeb;
    default:
      return undefined;
  }
}

/** Native gRPC needs HTTP/2 trailers, which Workers cannot send; base64 text is for browsers of long ago. */
export function isUnsupportedGrpc(headers: Headers): boolean {
  return /^application\/(grpc(\+.*)?|grpc-web-text(\+.*)?)$/.test(mediaType(headers));
}

function mediaType(headers: Headers): string {
  return (headers.get("content-type") ?? "").split(";", 1)[0]?.trim().toLowerCase() ?? "";
}

/** The one message of a request body. */
export async function readStreamRequest(
  request: Request,
  protocol: StreamProtocol,
): Promise<StreamBatchesRequest> {
  const body = await readBounded(request.body);
  const envelope = new DataView(body.buffer, body.byteOffset);
  if (body.length < ENVELOPE_BYTES || envelope.getUint32(1) !== body.length - ENVELOPE_BYTES)
    throw invalidArgument("body", "must be exactly one message in its envelope.");
  let message = body.subarray(ENVELOPE_BYTES);
  if ((envelope.getUint8(0) & compressedFlag) !== 0)
    message = await decompress(message, request.headers.get(protocol.encodingHeader));
  try {
    return fromBinary(StreamBatchesRequestSchema, message);
  } catch {
    throw invalidArgument("body", "is not a StreamBatchesRequest.");
  }
}

function decompress(
  bytes: Uint8Array<ArrayBuffer>,
  encoding: string | null,
): Promise<Uint8Array<ArrayBuffer>> {
  if (encoding === "gzip") return gunzip(bytes, SERVICE_BODY_MAX_BYTES);
  throw new ConnectError(
    `The request is compressed with "${encoding ?? "identity"}"; supported are gzip and identity.`,
    Code.Unimplemented,
  );
}
