/**
 * The file of a segment: a header, then the bytes of items one behind the other, and from the file's end backwards a
 * record for each. The middle is a hole. So the file is complete after every pair of writes, needs no second file for its
 * index, and whoever opens it reads records alone. Little-endian.
 *
 * header, 64 bytes: "CYXCACHE", u32 version, u32 CRC-32 of the 12 bytes before, zeros
 * record, 48 bytes: 32 bytes BLAKE3 of the item, u64 offset, u32 length, u32 CRC-32 of the 44 bytes before
 *
 * A record of zeros was never written. One with the greatest length says that the item was found damaged.
 */
import { crc32 } from "node:zlib";
import { readU64, viewOf, writeU64 } from "../../core/bytes.ts";

export const HEADER_BYTES = 64;
export const RECORD_BYTES = 48;
export const HASH_BYTES = 32;

const MAGIC = "CYXCACHE";
const VERSION = 1;
const DROPPED_LENGTH = 0xffff_ffff;
const OFFSET_AT = HASH_BYTES;
const LENGTH_AT = OFFSET_AT + 8;
const CHECKSUM_AT = LENGTH_AT + 4;

export interface ItemPlace {
  readonly offset: number;
  readonly length: number;
}

export function encodeHeader(): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES);
  bytes.set(new TextEncoder().encode(MAGIC));
  const view = viewOf(bytes);
  view.setUint32(8, VERSION, true);
  view.setUint32(12, crc32(bytes.subarray(0, 12)), true);
  return bytes;
}

export function isHeader(bytes: Uint8Array): boolean {
  return Buffer.compare(bytes, encodeHeader()) === 0;
}

export function encodeRecord(into: Uint8Array, hash: Uint8Array, place: ItemPlace | "dropped"): void {
  const view = viewOf(into);
  into.set(hash);
  writeU64(view, OFFSET_AT, place === "dropped" ? 0 : place.offset);
  view.setUint32(LENGTH_AT, place === "dropped" ? DROPPED_LENGTH : place.length, true);
  view.setUint32(CHECKSUM_AT, crc32(into.subarray(0, CHECKSUM_AT)), true);
}

/** Where a record says that its item lies; "dropped" or "damaged" where nowhere, "empty" where none was written. */
export function readRecord(record: Uint8Array): ItemPlace | "dropped" | "damaged" | "empty" {
  const view = viewOf(record);
  if (view.getUint32(CHECKSUM_AT, true) !== crc32(record.subarray(0, CHECKSUM_AT)))
    return record.every((byte) => byte === 0) ? "empty" : "damaged";
  const offset = readU64(view, OFFSET_AT);
  const length = view.getUint32(LENGTH_AT, true);
  if (length === DROPPED_LENGTH) return "dropped";
  return offset === undefined ? "damaged" : { offset, length };
}
