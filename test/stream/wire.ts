/** A client of the tests' own: reads frames from a socket, so that a response can be cut anywhere. */
import { request as httpRequest, type ClientRequest, type IncomingMessage } from "node:http";
import { create, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import {
  AckBatchesRequestSchema,
  type AckBatchesResponse,
  AckBatchesResponseSchema,
  type BatchResponse,
  BatchResponseSchema,
  StreamBatchesRequestSchema,
} from "../../proto/index.ts";

const SERVICE = "/cyxcloud.datastream.DataStreamService";

export type StreamInit = MessageInitShape<typeof StreamBatchesRequestSchema>;
export type AckInit = MessageInitShape<typeof AckBatchesRequestSchema>;

export interface StreamEnd {
  readonly code: string | undefined;
  readonly message: string;
  readonly continuation: number | undefined;
}

/** Streams as long as it is asked to. `end` is there when `next` answered undefined. */
export class WireStream {
  readonly #request: ClientRequest;
  readonly #pieces: AsyncIterator<Buffer>;
  #buffered: Buffer = Buffer.alloc(0);
  end: StreamEnd | undefined;

  private constructor(request: ClientRequest, response: IncomingMessage) {
    this.#request = request;
    this.#pieces = response[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
  }

  static open(baseUrl: string, init: StreamInit, headers: Record<string, string> = {}): Promise<WireStream> {
    const message = toBinary(StreamBatchesRequestSchema, create(StreamBatchesRequestSchema, init));
    const body = Buffer.alloc(5 + message.length);
    body.writeUInt32BE(message.length, 1);
    body.set(message, 5);
    return new Promise((resolve, reject) => {
      const request = httpRequest(`${baseUrl}${SERVICE}/StreamBatches`, {
        method: "POST",
        agent: false,
        headers: { "content-type": "application/connect+proto", "connect-protocol-version": "1", ...headers },
      });
      request.on("response", (response) => resolve(new WireStream(request, response)));
      request.on("error", reject);
      request.end(body);
    });
  }

  /** The next batch; undefined when the stream ended. */
  async next(): Promise<BatchResponse | undefined> {
    if (this.end !== undefined) return undefined;
    const head = await this.#take(5);
    const payload = await this.#take(head.readUInt32BE(1));
    if (head[0] === 0) return fromBinary(BatchResponseSchema, new Uint8Array(payload));
    const end = JSON.parse(payload.toString()) as {
      error?: { code: string; message: string };
      metadata?: Record<string, string[]>;
    };
    const continuation = end.metadata?.["cyxcloud-continuation"]?.[0];
    this.end = {
      code: end.error?.code,
      message: end.error?.message ?? "",
      continuation: continuation === undefined ? undefined : Number(continuation),
    };
    return undefined;
  }

  /** Reads some bytes of the next message and no more. */
  async nibble(length: number): Promise<void> {
    await this.#take(length);
  }

  /** Breaks the connection, as a killed client would. */
  cut(): void {
    this.#request.on("error", () => {});
    this.#request.destroy();
  }

  async #take(length: number): Promise<Buffer> {
    const pieces = [this.#buffered];
    let have = this.#buffered.length;
    while (have < length) {
      const { value, done } = await this.#pieces.next();
      if (done === true) throw new Error("The connection ended inside a frame.");
      pieces.push(value);
      have += value.length;
    }
    const all = Buffer.concat(pieces);
    this.#buffered = all.subarray(length);
    return all.subarray(0, length);
  }
}

/** All batches of one response, and how it ended. */
export async function readAll(
  baseUrl: string,
  init: StreamInit,
): Promise<{ batches: BatchResponse[]; end: StreamEnd }> {
  const stream = await WireStream.open(baseUrl, init);
  const batches: BatchResponse[] = [];
  for (let batch = await stream.next(); batch !== undefined; batch = await stream.next()) batches.push(batch);
  return { batches, end: stream.end as StreamEnd };
}

/** Acknowledges over unary Connect. Throws the code as an error's message. */
export async function acknowledge(
  baseUrl: string,
  init: AckInit,
  headers: Readonly<Record<string, string>> = {},
): Promise<AckBatchesResponse> {
  const response = await fetch(`${baseUrl}${SERVICE}/AckBatches`, {
    method: "POST",
    headers: { ...headers, "content-type": "application/proto", "connect-protocol-version": "1" },
    body: toBinary(AckBatchesRequestSchema, create(AckBatchesRequestSchema, init)),
  });
  if (!response.ok) throw new WireError((await response.json()) as { code: string; message: string });
  return fromBinary(AckBatchesResponseSchema, new Uint8Array(await response.arrayBuffer()));
}

export class WireError extends Error {
  readonly code: string;
  constructor({ code, message }: { code: string; message: string }) {
    super(message);
    this.code = code;
  }
}

/** The acknowledgement of a batch that was received. */
export function ackOf(stream: StreamInit, batch: BatchResponse, checkpoint = false): AckInit {
  return {
    datasetId: stream.datasetId ?? "",
    accessToken: stream.accessToken ?? "",
    streamId: batch.streamId,
    epoch: batch.epoch,
    rank: stream.rank ?? 0,
    lease: batch.lease,
    batchIndex: batch.batchIndex,
    transcriptHead: batch.transcriptHead,
    checkpoint,
  };
}
