// One BLAKE3 compression with the 4x4 state held by rows. For lone chunks and parents,
// where there is nothing to fill other lanes with.
import { PADDED, VALUE } from "../scratch";
import { BLOCK, IV0, IV1, IV2, IV3 } from "./constants";
import { add3, copyValue, rotate12, rotate7 } from "./words";

// @ts-ignore: decorator
@inline
function rotate16(v: v128): v128 {
  return i8x16.shuffle(v, v, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13);
}

// @ts-ignore: decorator
@inline
function rotate8(v: v128): v128 {
  return i8x16.shuffle(v, v, 1, 2, 3, 0, 5, 6, 7, 4, 9, 10, 11, 8, 13, 14, 15, 12);
}

/** Replaces the chaining value at `cv` by its compression with the 64 bytes at `block`. */
function compress1(cv: usize, block: usize, blockLength: u32, counter: u64, flags: u32): void {
  let a = v128.load(cv);
  let b = v128.load(cv, 16);
  let c = i32x4(IV0, IV1, IV2, IV3);
  let d = i32x4.replace_lane(
    i32x4.replace_lane(i64x2.replace_lane(i64x2.splat(0), 0, counter), 2, blockLength),
    3,
    flags,
  );

  let w0 = v128.load(block);
  let w1 = v128.load(block, 16);
  let w2 = v128.load(block, 32);
  let w3 = v128.load(block, 48);
  // Words in the order in which the four half-steps of a round take them.
  let columnX = v128.shuffle<u32>(w0, w1, 0, 2, 4, 6);
  let columnY = v128.shuffle<u32>(w0, w1, 1, 3, 5, 7);
  let diagonalX = v128.shuffle<u32>(w2, w3, 0, 2, 4, 6);
  let diagonalY = v128.shuffle<u32>(w2, w3, 1, 3, 5, 7);

  for (let round = 7; ; ) {
    a = add3(a, columnX, b);
    d = rotate16(v128.xor(d, a));
    c = i32x4.add(c, d);
    b = rotate12(v128.xor(b, c));
    a = add3(a, columnY, b);
    d = rotate8(v128.xor(d, a));
    c = i32x4.add(c, d);
    b = rotate7(v128.xor(b, c));

    // Turn the diagonals into columns.
    b = v128.shuffle<u32>(b, b, 1, 2, 3, 0);
    c = v128.shuffle<u32>(c, c, 2, 3, 0, 1);
    d = v128.shuffle<u32>(d, d, 3, 0, 1, 2);

    a = add3(a, diagonalX, b);
    d = rotate16(v128.xor(d, a));
    c = i32x4.add(c, d);
    b = rotate12(v128.xor(b, c));
    a = add3(a, diagonalY, b);
    d = rotate8(v128.xor(d, a));
    c = i32x4.add(c, d);
    b = rotate7(v128.xor(b, c));

    b = v128.shuffle<u32>(b, b, 3, 0, 1, 2);
    c = v128.shuffle<u32>(c, c, 2, 3, 0, 1);
    d = v128.shuffle<u32>(d, d, 1, 2, 3, 0);

    if (--round == 0) break;
    // The message permutation (2 6 3 10 7 0 4 13 1 11 12 5 9 14 15 8) on that order of words.
    const nextColumnX = v128.shuffle<u32>(columnX, columnY, 1, 5, 7, 2);
    const nextColumnY = v128.shuffle<u32>(v128.shuffle<u32>(columnX, diagonalX, 3, 5, 0, 0), diagonalY, 0, 1, 2, 6);
    const nextDiagonalX = v128.shuffle<u32>(v128.shuffle<u32>(diagonalX, diagonalY, 2, 2, 4, 7), columnY, 4, 1, 2, 3);
    diagonalY = v128.shuffle<u32>(v128.shuffle<u32>(diagonalX, diagonalY, 5, 5, 3, 0), columnY, 0, 6, 2, 3);
    columnX = nextColumnX;
    columnY = nextColumnY;
    diagonalX = nextDiagonalX;
  }

  v128.store(cv, v128.xor(a, c));
  v128.store(cv, v128.xor(b, d), 16);
}

/**
 * Compresses `length` bytes, block after block, from `key` into `out`: a chunk of 0 to 1024 bytes,
 * or a parent's block. `first` is added to the flags of the first block, `last` to those of the last.
 */
export function blocks1(
  data: usize, length: u32, counter: u64, key: usize, flags: u32, first: u32, last: u32, out: usize,
): void {
  // Not in `out`, which may be where `data` is.
  copyValue(VALUE, key);
  let edge = first;
  for (; length > BLOCK; length -= BLOCK, data += BLOCK) {
    compress1(VALUE, data, BLOCK, counter, flags | edge);
    edge = 0;
  }
  if (length < BLOCK) {
    memory.fill(PADDED, 0, BLOCK);
    memory.copy(PADDED, data, length);
    data = PADDED;
  }
  compress1(VALUE, data, length, counter, flags | edge | last);
  copyValue(out, VALUE);
}
