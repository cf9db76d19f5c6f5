// Parity by Horner's rule: parity row r is the data read as a polynomial and evaluated at 2^r,
// P = sum x_i, Q = sum 2^i x_i, R = sum 4^i x_i, S = sum 8^i x_i, from the last shard down.
import { DATA_POINTERS, OUTPUT_POINTERS, STEP, xtime, xtime1 } from "./field";

const WIDE_STEP: u32 = 64;

/** `pointers` is the table of `field.ts`; writes m parity shards of `length` bytes. */
export function rsEncode(pointers: usize, k: u32, m: u32, length: u32): void {
  if (length < STEP) bytes(pointers, k, m, length, false);
  else if (m == 1) rows1(pointers, k, length);
  else if (m == 2 && length >= WIDE_STEP) wideRows2(pointers, k, length);
  else if (m == 2) rows2(pointers, k, length);
  else if (m == 3) rows3(pointers, k, length);
  else rows4(pointers, k, length);
}

/** Whether the m shards at the output pointers are the parity of the k data shards. */
export function rsVerify(pointers: usize, k: u32, m: u32, length: u32): bool {
  if (length < STEP) return bytes(pointers, k, m, length, true);
  if (m == 1) return check1(pointers, k, length);
  if (m == 2) return check2(pointers, k, length);
  if (m == 3) return check3(pointers, k, length);
  return check4(pointers, k, length);
}

function rows1(pointers: usize, k: u32, length: u32): void { rows(pointers, k, 1, length, false); }
function rows2(pointers: usize, k: u32, length: u32): void { rows(pointers, k, 2, length, false); }
function rows3(pointers: usize, k: u32, length: u32): void { rows(pointers, k, 3, length, false); }
function rows4(pointers: usize, k: u32, length: u32): void { rows(pointers, k, 4, length, false); }
function check1(pointers: usize, k: u32, length: u32): bool { return rows(pointers, k, 1, length, true); }
function check2(pointers: usize, k: u32, length: u32): bool { return rows(pointers, k, 2, length, true); }
function check3(pointers: usize, k: u32, length: u32): bool { return rows(pointers, k, 3, length, true); }
function check4(pointers: usize, k: u32, length: u32): bool { return rows(pointers, k, 4, length, true); }

/** Inlined once for each m and purpose: the compiler drops the branches on its constant arguments. */
// @ts-ignore: decorator
@inline
function rows(pointers: usize, k: u32, m: u32, length: u32, check: bool): bool {
  const zero = i8x16.splat(0);
  const polynomial = i8x16.splat(0x1d);
  const lastShard = pointers + DATA_POINTERS + ((k - 1) << 2);
  let difference = zero;
  for (let at: u32 = 0; at < length; at += STEP) {
    // The last step overlaps the one before it, so that no length needs a tail of its own.
    if (at + STEP > length) at = length - STEP;
    const last = <usize>load<u32>(lastShard) + at;
    let pa = v128.load(last);
    let pb = v128.load(last, 16);
    let qa = pa;
    let qb = pb;
    let ra = pa;
    let rb = pb;
    let sa = pa;
    let sb = pb;
    for (let shard = lastShard; shard > pointers + DATA_POINTERS; ) {
      shard -= 4;
      const from = <usize>load<u32>(shard) + at;
      const a = v128.load(from);
      const b = v128.load(from, 16);
      pa = v128.xor(pa, a);
      pb = v128.xor(pb, b);
      if (m > 1) {
        qa = v128.xor(xtime(qa, polynomial, zero), a);
        qb = v128.xor(xtime(qb, polynomial, zero), b);
      }
      if (m > 2) {
        ra = v128.xor(xtime(xtime(ra, polynomial, zero), polynomial, zero), a);
        rb = v128.xor(xtime(xtime(rb, polynomial, zero), polynomial, zero), b);
      }
      if (m > 3) {
        sa = v128.xor(xtime(xtime(xtime(sa, polynomial, zero), polynomial, zero), polynomial, zero), a);
        sb = v128.xor(xtime(xtime(xtime(sb, polynomial, zero), polynomial, zero), polynomial, zero), b);
      }
    }
    if (check) {
      difference = v128.or(differ(pointers, 0, at, pa, pb), difference);
      if (m > 1) difference = v128.or(differ(pointers, 4, at, qa, qb), difference);
      if (m > 2) difference = v128.or(differ(pointers, 8, at, ra, rb), difference);
      if (m > 3) difference = v128.or(differ(pointers, 12, at, sa, sb), difference);
      if (v128.any_true(difference)) return false;
    } else {
      put(pointers, 0, at, pa, pb);
      if (m > 1) put(pointers, 4, at, qa, qb);
      if (m > 2) put(pointers, 8, at, ra, rb);
      if (m > 3) put(pointers, 12, at, sa, sb);
    }
  }
  return true;
}

/**
 * Two rows, the usual code, 64 bytes of each shard at a time: half again as fast as `rows`, because four
 * independent sums are what it takes to keep the processor busy. More rows would not fit its registers.
 */
function wideRows2(pointers: usize, k: u32, length: u32): void {
  const zero = i8x16.splat(0);
  const polynomial = i8x16.splat(0x1d);
  const lastShard = pointers + DATA_POINTERS + ((k - 1) << 2);
  for (let at: u32 = 0; at < length; at += WIDE_STEP) {
    if (at + WIDE_STEP > length) at = length - WIDE_STEP;
    const last = <usize>load<u32>(lastShard) + at;
    let pa = v128.load(last);
    let pb = v128.load(last, 16);
    let pc = v128.load(last, 32);
    let pd = v128.load(last, 48);
    let qa = pa;
    let qb = pb;
    let qc = pc;
    let qd = pd;
    for (let shard = lastShard; shard > pointers + DATA_POINTERS; ) {
      shard -= 4;
      const from = <usize>load<u32>(shard) + at;
      const a = v128.load(from);
      const b = v128.load(from, 16);
      const c = v128.load(from, 32);
      const d = v128.load(from, 48);
      qa = v128.xor(xtime(qa, polynomial, zero), a);
      qb = v128.xor(xtime(qb, polynomial, zero), b);
      qc = v128.xor(xtime(qc, polynomial, zero), c);
      qd = v128.xor(xtime(qd, polynomial, zero), d);
      pa = v128.xor(pa, a);
      pb = v128.xor(pb, b);
      pc = v128.xor(pc, c);
      pd = v128.xor(pd, d);
    }
    put(pointers, 0, at, pa, pb);
    put(pointers, 0, at + 32, pc, pd);
    put(pointers, 4, at, qa, qb);
    put(pointers, 4, at + 32, qc, qd);
  }
}

// @ts-ignore: decorator
@inline
function put(pointers: usize, row: usize, at: u32, a: v128, b: v128): void {
  const to = <usize>load<u32>(pointers + OUTPUT_POINTERS + row) + at;
  v128.store(to, a);
  v128.store(to, b, 16);
}

// @ts-ignore: decorator
@inline
function differ(pointers: usize, row: usize, at: u32, a: v128, b: v128): v128 {
  const from = <usize>load<u32>(pointers + OUTPUT_POINTERS + row) + at;
  return v128.or(v128.xor(v128.load(from), a), v128.xor(v128.load(from, 16), b));
}

/** The same for lengths below one step, a byte at a time. */
function bytes(pointers: usize, k: u32, m: u32, length: u32, check: bool): bool {
  for (let row: u32 = 0; row < m; row++) {
    const parity = <usize>load<u32>(pointers + OUTPUT_POINTERS + (row << 2));
    for (let at: u32 = 0; at < length; at++) {
      let value: u32 = 0;
      for (let shard = k; shard > 0; shard--) {
        for (let power: u32 = 0; power < row; power++) value = xtime1(value);
        value ^= load<u8>(<usize>load<u32>(pointers + DATA_POINTERS + ((shard - 1) << 2)) + at);
      }
      if (!check) store<u8>(parity + at, value);
      else if (load<u8>(parity + at) != value) return false;
    }
  }
  return true;
}
