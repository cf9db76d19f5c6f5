/** The few pieces of the protobuf wire format (https://protobuf.dev/programming-guides/encoding/) that a batch needs. */

/** Of BLAKE3: item hashes, batch hash and transcript head. */
export const BATCH_HASH_BYTES = 32;

export const VARINT = 0;
export const LENGTH_DELIMITED = 2;

/** One byte, for field numbers up to 15. */
export function fieldTag(field: number, wireType: number): number {
  return (field << 3) | wireType;
}

/** @param value a non-negative safe integer. */
export function varintLength(value: number): number {
  let length = 1;
  for (let rest = value; rest >= 0x80; rest = Math.floor(rest / 0x80)) length++;
  return length;
}

/** @returns the offset after it. */
export function writeVarint(into: Uint8Array, at: number, value: number): number {
  let rest = value;
  let offset = at;
  while (rest >= 0x80) {
    into[offset++] = (rest % 0x80) | 0x80;
    rest = Math.floor(rest / 0x80);
  }
  into[offset++] = rest;
  return offset;
}
