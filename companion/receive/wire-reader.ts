import { DataStreamError } from "../../core/errors.ts";

/** Wire types of protobuf (https://protobuf.dev/programming-guides/encoding/#structure). */
export const VARINT = 0;
export const FIXED64 = 1;
export const LENGTH = 2;
const GROUP_START = 3;
const GROUP_END = 4;
export const FIXED32 = 5;

/** Groups inside groups that are skipped; the formats here have none at all. */
const GROUPS_MAX = 64;

/**
 * Reads protobuf's primitives from bytes that are not trusted. Every method throws `data_loss` before it would read
 * past the end.
 */
export class WireReader {
  readonly #bytes: Uint8Array;
  #at = 0;
  #end: number;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#end = bytes.byteLength;
  }

  get atEnd(): boolean {
    return this.#at >= this.#end;
  }

  /** Where the next byte lies. */
  get offset(): number {
    return this.#at;
  }

  /** Field number times 8 plus wire type. */
  tag(): number {
    const tag = this.uint32();
    if (tag >>> 3 === 0) throw malformed();
    return tag;
  }

  /** The low 32 bits of a varint, as the format demands of a longer one. */
  uint32(): number {
    let value = 0;
    for (let shift = 0; shift < 70; shift += 7) {
      const byte = this.#byte();
      // Of the fifth byte on, shifts drop what lies beyond 32 bits.
      if (shift < 32) value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return value >>> 0;
    }
    throw malformed();
  }

  uint64(): bigint {
    let low = 0;
    let high = 0;
    for (let shift = 0; shift < 70; shift += 7) {
      const byte = this.#byte();
      const bits = byte & 0x7f;
      if (shift < 28) low |= bits << shift;
      else if (shift === 28) {
        low |= bits << 28;
        high = bits >>> 4;
      } else high |= bits << (shift - 32);
      if (byte < 0x80) {
        if (high === 0) return BigInt(low >>> 0);
        return (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0);
      }
    }
    throw malformed();
  }

  /** Moves past a length-delimited value; returns its length. It begins at `offset - length`. */
  delimited(): number {
    const length = this.uint32();
    if (length > this.#end - this.#at) throw malformed();
    this.#at += length;
    return length;
  }

  skip(tag: number): void {
    const open: number[] = [];
    for (let next = tag; ; next = this.tag()) {
      this.#skipOne(next, open);
      if (open.length === 0) return;
    }
  }

  /** Reads the packed values of a length-delimited field one by one. */
  packed(read: () => void): void {
    const length = this.uint32();
    if (length > this.#end - this.#at) throw malformed();
    const outer = this.#end;
    this.#end = this.#at + length;
    while (this.#at < this.#end) read();
    this.#end = outer;
  }

  #skipOne(tag: number, open: number[]): void {
    const type = tag & 7;
    if (type === VARINT) this.uint64();
    else if (type === FIXED64) this.#skipBytes(8);
    else if (type === LENGTH) this.delimited();
    else if (type === FIXED32) this.#skipBytes(4);
    else if (type === GROUP_START && open.length < GROUPS_MAX) open.push(tag >>> 3);
    else if (type !== GROUP_END || open.pop() !== tag >>> 3) throw malformed();
  }

  #skipBytes(count: number): void {
    if (count > this.#end - this.#at) throw malformed();
    this.#at += count;
  }

  #byte(): number {
    if (this.#at >= this.#end) throw malformed();
    return this.#bytes[this.#at++] as number;
  }
}

export function malformed(): DataStreamError {
  return new DataStreamError("data_loss", "The gateway sent a message that is no batch.");
}
