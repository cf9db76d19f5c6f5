/** Answers of a gateway as bytes, for tests of whoever reads them. */
import { create, toBinary } from "@bufbuild/protobuf";
import fc from "fast-check";
import { concatBytes } from "../../../core/bytes.ts";
import { utf8 } from "../../../core/text.ts";
import { BatchResponseSchema, type BatchResponse } from "../../../proto/index.ts";

export function envelope(flags: number, message: Uint8Array): Uint8Array {
  const framed = new Uint8Array(5 + message.length);
  framed[0] = flags;
  new DataView(framed.buffer).setUint32(1, message.length);
  framed.set(message, 5);
  return framed;
}

export const END: Uint8Array = envelope(2, utf8("{}"));

export function endWith(value: unknown): Uint8Array {
  return envelope(2, utf8(JSON.stringify(value)));
}

/** The body of a stream that ends well. */
export function streamBody(batches: readonly BatchResponse[]): Uint8Array {
  return concatBytes([...batches.map((batch) => envelope(0, toBinary(BatchResponseSchema, batch))), END]);
}

export type Framing =
  | { readonly by: "length" }
  | { readonly by: "close" }
  | {
      readonly by: "chunks";
      readonly sizes: readonly number[];
      readonly extension: string;
      readonly trailer: string;
    };

/** A whole HTTP answer. */
export function answer(
  body: Uint8Array,
  framing: Framing,
  headers: readonly string[] = STREAM_HEADERS,
): Uint8Array {
  const lines = ["HTTP/1.1 200 OK", ...headers];
  if (framing.by === "length") lines.push(`Content-Length: ${body.length}`);
  if (framing.by === "chunks") lines.push("Transfer-Encoding: chunked");
  const head = utf8(`${lines.join("\r\n")}\r\n\r\n`);
  return concatBytes([head, framing.by === "chunks" ? chunked(body, framing) : body]);
}

export const STREAM_HEADERS: readonly string[] = ["content-type: application/connect+proto"];

function chunked(body: Uint8Array, { sizes, extension, trailer }: Framing & { by: "chunks" }): Uint8Array {
  const parts: Uint8Array[] = [];
  for (let at = 0, i = 0; at < body.length; i++) {
    const chunk = body.subarray(at, at + (sizes[i % sizes.length] ?? 1));
    parts.push(utf8(`${chunk.length.toString(16)}${extension}\r\n`), chunk, utf8("\r\n"));
    at += chunk.length;
  }
  return concatBytes([...parts, utf8(`0${extension}\r\n${trailer}\r\n`)]);
}

/** Cuts bytes into pieces of the given sizes, over and over. */
export function* cut(bytes: Uint8Array, sizes: readonly number[]): Generator<Uint8Array> {
  for (let at = 0, i = 0; at < bytes.length; i++) {
    const size = sizes[i % sizes.length] ?? 1;
    yield bytes.subarray(at, at + size);
    at += size;
  }
}

const u64: fc.Arbitrary<bigint> = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
const u32: fc.Arbitrary<number> = fc.nat({ max: 0xffff_ffff });
const bytes = (maxLength: number): fc.Arbitrary<Uint8Array> => fc.uint8Array({ maxLength });

/** Messages of every shape, plausible or not. */
export const anyBatch: fc.Arbitrary<BatchResponse> = fc
  .record({
    batchIndex: u64,
    items: fc.array(bytes(300), { maxLength: 6 }),
    itemHashes: fc.array(bytes(32), { maxLength: 6 }),
    batchHash: bytes(32),
    totalBatches: u64,
    isLast: fc.boolean(),
    itemIndices: fc.array(u64, { maxLength: 6 }),
    streamId: fc.string({ unit: "grapheme", maxLength: 40 }),
    epoch: u32,
    transcriptHead: bytes(32),
    paddedItems: u32,
    lease: u64,
    startIndex: u64,
    worldSize: u32,
  })
  .map((fields) => create(BatchResponseSchema, fields));

/** A message with no view of foreign memory, to compare with. */
export function detached(message: BatchResponse): BatchResponse {
  return create(BatchResponseSchema, {
    ...message,
    items: message.items.map((item) => Uint8Array.from(item)),
    itemHashes: message.itemHashes.map((hash) => Uint8Array.from(hash)),
    batchHash: Uint8Array.from(message.batchHash),
    transcriptHead: Uint8Array.from(message.transcriptHead),
  });
}
