/** A client that sends a request for a stream and then reads nothing until it is told to. */
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { create, toBinary } from "@bufbuild/protobuf";
import { StreamBatchesRequestSchema } from "../../proto/index.ts";
import type { StreamInit } from "../stream/wire.ts";

const ENVELOPE_BYTES = 5;
export const STREAM_BATCHES = "/cyxcloud.datastream.DataStreamService/StreamBatches";

export interface ReadToEnd {
  /** Whole batches. */
  readonly batches: number;
  /** Code of the error in the last frame; undefined for a good end. */
  readonly code: string | undefined;
}

/** Resolves when the first bytes of the answer are there. */
export async function stall(
  gatewayUrl: string,
  init: StreamInit,
  headers: Readonly<Record<string, string>> = {},
): Promise<Socket> {
  const message = toBinary(StreamBatchesRequestSchema, create(StreamBatchesRequestSchema, init));
  const socket = connect(Number(new URL(gatewayUrl).port), "127.0.0.1");
  await once(socket, "connect");
  socket.pause();
  const head = Buffer.alloc(ENVELOPE_BYTES);
  head.writeUInt32BE(message.length, 1);
  socket.write(
    `POST ${STREAM_BATCHES} HTTP/1.1\r\nHost: ${new URL(gatewayUrl).host}\r\nConnection: close\r\n` +
      Object.entries(headers)
        .map(([name, value]) => `${name}: ${value}\r\n`)
        .join("") +
      `Content-Type: application/connect+proto\r\nContent-Length: ${ENVELOPE_BYTES + message.length}\r\n\r\n`,
  );
  socket.write(Buffer.concat([head, message]));
  await once(socket, "readable");
  return socket;
}

/** Reads what is left of the answer. */
export async function readToEnd(socket: Socket): Promise<ReadToEnd> {
  const pieces: Buffer[] = [];
  for await (const piece of socket) pieces.push(piece as Buffer);
  const all = Buffer.concat(pieces);
  const body = unchunk(all.subarray(all.indexOf("\r\n\r\n") + 4));
  let [at, batches] = [0, 0];
  for (; body[at] === 0; batches++) at += ENVELOPE_BYTES + body.readUInt32BE(at + 1);
  const last = JSON.parse(body.toString("utf8", at + ENVELOPE_BYTES)) as { error?: { code: string } };
  return { batches, code: last.error?.code };
}

/** RFC 9112, section 7.1. */
function unchunk(bytes: Buffer): Buffer {
  const parts: Buffer[] = [];
  for (let at = 0; ;) {
    const end = bytes.indexOf("\r\n", at);
    const length = Number.parseInt(bytes.toString("latin1", at, end), 16);
    if (length === 0) return Buffer.concat(parts);
    parts.push(bytes.subarray(end + 2, end + 2 + length));
    at = end + 2 + length + 2;
  }
}
