import { create } from "@bufbuild/protobuf";
import { BATCH_MAX_ITEMS, STREAM_ID_MAX_CHARS } from "../../core/limits.ts";
import { fromUtf8 } from "../../core/text.ts";
import { BatchResponseSchema, type BatchResponse } from "../../proto/index.ts";
import { LENGTH, malformed, VARINT, WireReader } from "./wire-reader.ts";

/** UTF-8 takes at most three bytes for a UTF-16 unit. */
const STREAM_ID_MAX_BYTES = 3 * STREAM_ID_MAX_CHARS;
const HASH_MAX_BYTES = 64;

/**
 * Reads a BatchResponse. Items and their hashes are views of `bytes`, everything else is copied. Own code because the
 * general reader looks every field up in a description; unknown fields are skipped like there, and a known one of
 * another wire type is refused.
 * @throws DataStreamError `data_loss` where the bytes are no such message.
 */
export function readBatchMessage(bytes: Uint8Array): BatchResponse {
  const message = create(BatchResponseSchema);
  const reader = new WireReader(bytes);
  while (!reader.atEnd) {
    const tag = reader.tag();
    const read = FIELDS[tag >>> 3];
    if (read === undefined) reader.skip(tag);
    else read(message, reader, bytes, tag & 7);
  }
  return message;
}

type ReadField = (message: BatchResponse, reader: WireReader, bytes: Uint8Array, wireType: number) => void;

/** By field number. A scalar that comes twice has its last value, as the format demands. */
const FIELDS: readonly (ReadField | undefined)[] = [
  undefined,
  (message, reader, _bytes, type) => (message.batchIndex = uint64(reader, type)),
  (message, reader, bytes, type) => add(message.items, view(reader, bytes, type)),
  (message, reader, bytes, type) => add(message.itemHashes, view(reader, bytes, type)),
  (message, reader, bytes, type) => (message.batchHash = copied(reader, bytes, type, HASH_MAX_BYTES)),
  (message, reader, _bytes, type) => (message.totalBatches = uint64(reader, type)),
  (message, reader, _bytes, type) => (message.isLast = uint64(reader, type) !== 0n),
  (message, reader, _bytes, type) => {
    if (type === LENGTH) reader.packed(() => add(message.itemIndices, reader.uint64()));
    else add(message.itemIndices, uint64(reader, type));
  },
  (message, reader, bytes, type) => {
    const text = fromUtf8(copied(reader, bytes, type, STREAM_ID_MAX_BYTES));
    if (text === undefined) throw malformed();
    message.streamId = text;
  },
  (message, reader, _bytes, type) => (message.epoch = uint32(reader, type)),
  (message, reader, bytes, type) => (message.transcriptHead = copied(reader, bytes, type, HASH_MAX_BYTES)),
  (message, reader, _bytes, type) => (message.paddedItems = uint32(reader, type)),
  (message, reader, _bytes, type) => (message.lease = uint64(reader, type)),
  (message, reader, _bytes, type) => (message.startIndex = uint64(reader, type)),
  (message, reader, _bytes, type) => (message.worldSize = uint32(reader, type)),
];

/** A message of empty items would make objects far larger than itself. */
function add<T>(list: T[], value: T): void {
  if (list.length >= BATCH_MAX_ITEMS) throw malformed();
  list.push(value);
}

function uint64(reader: WireReader, wireType: number): bigint {
  if (wireType !== VARINT) throw malformed();
  return reader.uint64();
}

function uint32(reader: WireReader, wireType: number): number {
  if (wireType !== VARINT) throw malformed();
  return reader.uint32();
}

function view(reader: WireReader, bytes: Uint8Array, wireType: number): Uint8Array {
  if (wireType !== LENGTH) throw malformed();
  const length = reader.delimited();
  return new Uint8Array(bytes.buffer, bytes.byteOffset + reader.offset - length, length);
}

function copied(
  reader: WireReader,
  bytes: Uint8Array,
  wireType: number,
  maxBytes: number,
): Uint8Array<ArrayBuffer> {
  const found = view(reader, bytes, wireType);
  if (found.byteLength > maxBytes) throw malformed();
  return new Uint8Array(found);
}
