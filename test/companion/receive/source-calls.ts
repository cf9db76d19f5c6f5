/** Servers that answer with given bytes, and calls of the source against them. */
import { create } from "@bufbuild/protobuf";
import { afterEach } from "vitest";
import { Gateway } from "../../../client/http.ts";
import type { BatchMessages, SourceContext } from "../../../client/stream/source.ts";
import { socketSource, type SocketSourceOptions } from "../../../companion/receive/socket-source.ts";
import { BatchResponseSchema, StreamBatchesRequestSchema, type BatchResponse } from "../../../proto/index.ts";
import { noise } from "../../stream/fixture.ts";
import { startRawServer, type RawServer } from "./raw-server.ts";
import type { Framing } from "./wire.ts";

export const MIB: number = 1024 * 1024;
let server: RawServer | undefined;

/** Stops the server of this test. */
export async function stop(): Promise<void> {
  await server?.stop();
  server = undefined;
}
afterEach(stop);

/** The server of this test, stopped behind it or by the next one. */
export async function start(...how: Parameters<typeof startRawServer>): Promise<RawServer> {
  await stop();
  return (server = await startRawServer(...how));
}

/** Serves the same bytes to everybody, and ends. */
export function serve(bytes: Uint8Array, tls?: Parameters<typeof startRawServer>[1]): Promise<RawServer> {
  return start((socket) => void socket.end(bytes), tls);
}

export function open(
  url: string,
  options: SocketSourceOptions & { signal?: AbortSignal; gateway?: Gateway } = {},
): Promise<BatchMessages> {
  const gateway = options.gateway ?? new Gateway({ gateway: url });
  const context = { gateway, accessToken: "secret", signal: options.signal ?? new AbortController().signal };
  return socketSource(options).open(
    create(StreamBatchesRequestSchema, { datasetId: "d", batchSize: 4 }),
    context as unknown as SourceContext,
  );
}

export async function all(messages: BatchMessages): Promise<BatchResponse[]> {
  const received: BatchResponse[] = [];
  for (let next = await messages.next(); next.done !== true; next = await messages.next())
    received.push(next.value);
  return received;
}

export function batchOf(index: number, itemBytes: number): BatchResponse {
  const items = [noise(itemBytes, index), Uint8Array.of(index)];
  return create(BatchResponseSchema, { batchIndex: BigInt(index), items, streamId: "run" });
}

export const chunks: Framing = { by: "chunks", sizes: [70_000], extension: "", trailer: "" };
