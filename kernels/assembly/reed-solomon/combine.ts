// Lost shards as linear combinations of k present ones. A product with a constant is two lookups of
// sixteen entries, one by the low and one by the high nibble, done by swizzle.
import { DATA_POINTERS, OUTPUT_POINTERS, STEP } from "./field";

/** Bytes of one coefficient's tables: products of 0..15, then of 16 x 0..15. */
const TABLE: u32 = 32;

/**
 * `tables` holds, output by output and shard by shard, the two tables of each coefficient;
 * `pointers` is the table of `field.ts`. Writes `outputs` (1 to 4) shards of `length` bytes.
 */
export function rsCombine(pointers: usize, tables: usize, k: u32, outputs: u32, length: u32): void {
  if (length < STEP) bytes(pointers, tables, k, outputs, length);
  else if (outputs == 1) combine1(pointers, tables, k, length);
  else if (outputs == 2) combine2(pointers, tables, k, length);
  else if (outputs == 3) combine3(pointers, tables, k, length);
  else combine4(pointers, tables, k, length);
}

function combine1(pointers: usize, tables: usize, k: u32, length: u32): void { combine(pointers, tables, k, 1, length); }
function combine2(pointers: usize, tables: usize, k: u32, length: u32): void { combine(pointers, tables, k, 2, length); }
function combine3(pointers: usize, tables: usize, k: u32, length: u32): void { combine(pointers, tables, k, 3, length); }
function combine4(pointers: usize, tables: usize, k: u32, length: u32): void { combine(pointers, tables, k, 4, length); }

// @ts-ignore: decorator
@inline
function product(sum: v128, low: v128, high: v128, lowNibbles: v128, highNibbles: v128): v128 {
  return v128.xor(v128.xor(sum, i8x16.swizzle(low, lowNibbles)), i8x16.swizzle(high, highNibbles));
}

/** Inlined once for each number of outputs, which share the loads of a shard. */
// @ts-ignore: decorator
@inline
function combine(pointers: usize, tables: usize, k: u32, outputs: u32, length: u32): void {
  const mask = i8x16.splat(0x0f);
  const row = k * TABLE;
  for (let at: u32 = 0; at < length; at += STEP) {
    if (at + STEP > length) at = length - STEP;
    let w0 = i8x16.splat(0);
    let w1 = w0;
    let x0 = w0;
    let x1 = w0;
    let y0 = w0;
    let y1 = w0;
    let z0 = w0;
    let z1 = w0;
    let table = tables;
    const end = pointers + DATA_POINTERS + (k << 2);
    for (let shard = pointers + DATA_POINTERS; shard < end; shard += 4, table += TABLE) {
      const from = <usize>load<u32>(shard) + at;
      const a = v128.load(from);
      const b = v128.load(from, 16);
      const aLow = v128.and(a, mask);
      const aHigh = v128.and(i16x8.shr_u(a, 4), mask);
      const bLow = v128.and(b, mask);
      const bHigh = v128.and(i16x8.shr_u(b, 4), mask);
      let low = v128.load(table);
      let high = v128.load(table, 16);
      w0 = product(w0, low, high, aLow, aHigh);
      w1 = product(w1, low, high, bLow, bHigh);
      if (outputs > 1) {
        low = v128.load(table + row);
        high = v128.load(table + row, 16);
        x0 = product(x0, low, high, aLow, aHigh);
        x1 = product(x1, low, high, bLow, bHigh);
      }
      if (outputs > 2) {
        low = v128.load(table + 2 * row);
        high = v128.load(table + 2 * row, 16);
        y0 = product(y0, low, high, aLow, aHigh);
        y1 = product(y1, low, high, bLow, bHigh);
      }
      if (outputs > 3) {
        low = v128.load(table + 3 * row);
        high = v128.load(table + 3 * row, 16);
        z0 = product(z0, low, high, aLow, aHigh);
        z1 = product(z1, low, high, bLow, bHigh);
      }
    }
    put(pointers, 0, at, w0, w1);
    if (outputs > 1) put(pointers, 4, at, x0, x1);
    if (outputs > 2) put(pointers, 8, at, y0, y1);
    if (outputs > 3) put(pointers, 12, at, z0, z1);
  }
}

// @ts-ignore: decorator
@inline
function put(pointers: usize, output: usize, at: u32, a: v128, b: v128): void {
  const to = <usize>load<u32>(pointers + OUTPUT_POINTERS + output) + at;
  v128.store(to, a);
  v128.store(to, b, 16);
}

/** The same for lengths below one step, a byte at a time. */
function bytes(pointers: usize, tables: usize, k: u32, outputs: u32, length: u32): void {
  for (let output: u32 = 0; output < outputs; output++) {
    const to = <usize>load<u32>(pointers + OUTPUT_POINTERS + (output << 2));
    for (let at: u32 = 0; at < length; at++) {
      let value: u32 = 0;
      for (let shard: u32 = 0; shard < k; shard++) {
        const x = <u32>load<u8>(<usize>load<u32>(pointers + DATA_POINTERS + (shard << 2)) + at);
        const table = tables + (output * k + shard) * TABLE;
        value ^= load<u8>(table + (x & 15)) ^ load<u8>(table + 16 + (x >> 4));
      }
      store<u8>(to + at, value);
    }
  }
}
