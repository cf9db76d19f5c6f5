/**
 * Child process that answers every request with the same prepared stream, over HTTP and HTTPS, so cheaply that what is
 * measured is the reader. The number of messages is asked for in the request's `x-messages`.
 */
import { create, toBinary } from "@bufbuild/protobuf";
import { randomFillSync } from "node:crypto";
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo } from "node:net";
import { BatchResponseSchema } from "../../proto/index.ts";
import { createCertificate } from "../../scripts/certificates.ts";

export interface FramesServer {
  readonly plain: string;
  readonly tls: string;
  /** Certificate of the authority to trust, PEM. */
  readonly ca: string;
  readonly messageBytes: number;
}

const KIB = 1024;
const ITEMS = 32;
const ITEM_BYTES = 128 * KIB;
const END = Buffer.from([2, 0, 0, 0, 2, 0x7b, 0x7d]);

const message = toBinary(
  BatchResponseSchema,
  create(BatchResponseSchema, {
    items: Array.from({ length: ITEMS }, () => randomFillSync(new Uint8Array(ITEM_BYTES))),
    itemHashes: Array.from({ length: ITEMS }, () => randomFillSync(new Uint8Array(32))),
    itemIndices: Array.from({ length: ITEMS }, (_, i) => BigInt(i * 1000)),
    batchHash: new Uint8Array(32),
    transcriptHead: new Uint8Array(32),
    streamId: "bench",
    totalBatches: 1n,
  }),
);
const envelope = Buffer.alloc(5 + message.length);
envelope.writeUInt32BE(message.length, 1);
envelope.set(message, 5);

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  request.resume();
  await once(request, "end");
  response.writeHead(200, { "content-type": "application/connect+proto" });
  for (let left = Number(request.headers["x-messages"]); left > 0; left--)
    if (!response.write(envelope)) await once(response, "drain");
  response.end(END);
}

const listener = (request: IncomingMessage, response: ServerResponse): void => void answer(request, response);
const authority = createCertificate("authority");
const plain = createServer(listener).listen(0, "127.0.0.1");
const tls = createTlsServer(createCertificate("frames", authority).pem, listener).listen(0, "127.0.0.1");
await Promise.all([once(plain, "listening"), once(tls, "listening")]);
process.on("disconnect", () => process.exit());
process.send?.({
  plain: `http://127.0.0.1:${(plain.address() as AddressInfo).port}`,
  tls: `https://127.0.0.1:${(tls.address() as AddressInfo).port}`,
  ca: authority.pem.cert,
  messageBytes: message.length,
} satisfies FramesServer);
