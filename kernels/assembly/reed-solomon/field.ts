// GF(2^8) modulo x^8 + x^4 + x^3 + x^2 + 1 (0x11d), sixteen elements at a time.

/** Shard pointers as the binding leaves them: 32 data shards, then 4 outputs or parity shards. */
export const DATA_POINTERS: usize = 0;
export const OUTPUT_POINTERS: usize = 128;

/** Bytes that one step of a loop handles in each shard. */
export const STEP: u32 = 32;

// @ts-ignore: decorator
@inline
export function xtime(v: v128, polynomial: v128, zero: v128): v128 {
  return v128.xor(i8x16.add(v, v), v128.and(i8x16.lt_s(v, zero), polynomial));
}

export function xtime1(x: u32): u32 {
  return ((x << 1) ^ ((x >> 7) * 0x1d)) & 0xff;
}
