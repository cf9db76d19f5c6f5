/**
 * The hot path's own encoder: one `BatchResponse` in an envelope, written into one piece of memory, byte for byte as
 * `toBinary` of @bufbuild/protobuf writes it. Every length is known before any item is, so items are read
 * straight to where they are sent from.
 *
 * The envelope (one byte of flags, a big-endian u32 length) is that of Connect
 * (https://connectrpc.com/docs/protocol/#streaming-rpcs) and of gRPC-Web alike.
 */
import { BATCH_HASH_BYTES, fieldTag, LENGTH_DELIMITED, VARINT, varintLength, writeVarint } from "./wire.ts";

export interface BatchFields {
  readonly batchIndex: number;
  /** Bytes of each item. */
  readonly sizes: readonly number[];
  /** 32 bytes each. */
  readonly itemHashes: readonly Uint8Array[];
  /** Of each item in the manifest. */
  readonly itemIndices: readonly number[];
  readonly totalBatches: number;
  readonly isLast: boolean;
  readonly streamId: Uint8Array;
  readonly epoch: number;
  readonly paddedItems: number;
  readonly lease: number;
  readonly startIndex: number;
  readonly worldSize: number;
}

export const ENVELOPE_BYTES = 5;

// Field numbers of BatchResponse in proto/datastream.proto.
const BATCH_INDEX = 1;
const ITEMS = 2;
const ITEM_HASHES = 3;
const BATCH_HASH = 4;
const TOTAL_BATCHES = 5;
const IS_LAST = 6;
const ITEM_INDICES = 7;
const STREAM_ID = 8;
const EPOCH = 9;
const TRANSCRIPT_HEAD = 10;
const PADDED_ITEMS = 11;
const LEASE = 12;
const START_INDEX = 13;
const WORLD_SIZE = 14;

/** Where everything of one message lies. */
export class BatchMessage {
  /** Envelope included. */
  readonly byteLength: number;
  /** Of the first byte of each item. */
  readonly itemOffsets: readonly number[];
  readonly fields: BatchFields;
  readonly #tailOffset: number;
  readonly #indicesLength: number;

  constructor(fields: BatchFields) {
    this.fields = fields;
    let at = ENVELOPE_BYTES + numberLength(fields.batchIndex);
    this.itemOffsets = fields.sizes.map((size) => {
      const offset = at + 1 + varintLength(size);
      at = offset + size;
      return offset;
    });
    this.#tailOffset = at;
    this.#indicesLength = fields.itemIndices.reduce((sum, index) => sum + varintLength(index), 0);
    this.byteLength = at + this.#tailLength();
  }

  /** The part of `slot` that item `i` belongs into. */
  itemView(slot: Uint8Array, i: number): Uint8Array {
    const offset = this.itemOffsets[i] as number;
    return slot.subarray(offset, offset + (this.fields.sizes[i] as number));
  }

  /** Writes everything but the items themselves. */
  write(slot: Uint8Array, batchHash: Uint8Array, transcriptHead: Uint8Array): void {
    const { fields } = this;
    slot[0] = 0;
    new DataView(slot.buffer, slot.byteOffset).setUint32(1, this.byteLength - ENVELOPE_BYTES);
    writeNumber(slot, ENVELOPE_BYTES, BATCH_INDEX, fields.batchIndex);
    fields.sizes.forEach((size, i) => {
      const start = (this.itemOffsets[i] as number) - varintLength(size) - 1;
      writeVarint(slot, writeTag(slot, start, ITEMS, LENGTH_DELIMITED), size);
    });

    let at = this.#tailOffset;
    for (const hash of fields.itemHashes) at = writeBytes(slot, at, ITEM_HASHES, hash);
    at = writeBytes(slot, at, BATCH_HASH, batchHash);
    at = writeNumber(slot, at, TOTAL_BATCHES, fields.totalBatches);
    at = writeNumber(slot, at, IS_LAST, fields.isLast ? 1 : 0);
    if (fields.itemIndices.length > 0) {
      at = writeVarint(slot, writeTag(slot, at, ITEM_INDICES, LENGTH_DELIMITED), this.#indicesLength);
      for (const index of fields.itemIndices) at = writeVarint(slot, at, index);
    }
    if (fields.streamId.length > 0) at = writeBytes(slot, at, STREAM_ID, fields.streamId);
    at = writeNumber(slot, at, EPOCH, fields.epoch);
    at = writeBytes(slot, at, TRANSCRIPT_HEAD, transcriptHead);
    at = writeNumber(slot, at, PADDED_ITEMS, fields.paddedItems);
    at = writeNumber(slot, at, LEASE, fields.lease);
    at = writeNumber(slot, at, START_INDEX, fields.startIndex);
    writeNumber(slot, at, WORLD_SIZE, fields.worldSize);
  }

  #tailLength(): number {
    const { fields } = this;
    const id = fields.streamId.length;
    return (
      (fields.itemHashes.length + 2) * (2 + BATCH_HASH_BYTES) +
      numberLength(fields.totalBatches) +
      numberLength(fields.isLast ? 1 : 0) +
      (fields.itemIndices.length === 0 ? 0 : 1 + varintLength(this.#indicesLength) + this.#indicesLength) +
      (id === 0 ? 0 : 1 + varintLength(id) + id) +
      numberLength(fields.epoch) +
      numberLength(fields.paddedItems) +
      numberLength(fields.lease) +
      numberLength(fields.startIndex) +
      numberLength(fields.worldSize)
    );
  }
}

/** A number that is 0 is left out, as proto3 prescribes. */
function numberLength(value: number): number {
  return value === 0 ? 0 : 1 + varintLength(value);
}

function writeNumber(into: Uint8Array, at: number, field: number, value: number): number {
  return value === 0 ? at : writeVarint(into, writeTag(into, at, field, VARINT), value);
}

function writeBytes(into: Uint8Array, at: number, field: number, bytes: Uint8Array): number {
  const start = writeVarint(into, writeTag(into, at, field, LENGTH_DELIMITED), bytes.length);
  into.set(bytes, start);
  return start + bytes.length;
}

function writeTag(into: Uint8Array, at: number, field: number, type: number): number {
  into[at] = fieldTag(field, type);
  return at + 1;
}
