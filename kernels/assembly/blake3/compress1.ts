// One BLAKE3 compression with the 4x4 state held by rows. For lone chunks and parents,
// where there is nothing to fill the other three lanes of compress4 with.
import { BLOCK, CHUNK_END, CHUNK_START, IV0, IV1, IV2, IV3 } from "./constants";
import { PADDED1 } from "../scratch";

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

// @ts-ignore: decorator
@inline
function rotate12(v: v128): v128 {
  return v128.or(i32x4.shr_u(v, 12), i32x4.shl(v, 20));
}

// @ts-ignore: decorator
@inline
function rotate7(v: v128): v128 {
  return v128.or(i32x4.shr_u(v, 7), i32x4.shl(v, 25));
}

/** Replaces the chaining value at `cv` by its compression with the 64 bytes at `block`. */
export function compress1(cv: usize, block: usize, blockLength: u32, counter: u64, flags: u32): void {
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
    a = i32x4.add(i32x4.add(a, b), columnX);
    d = rotate16(v128.xor(d, a));
    c = i32x4.add(c, d);
    b = rotate12(v128.xor(b, c));
    a = i32x4.add(i32x4.add(a, b), columnY);
    d = rotate8(v128.xor(d, a));
    c = i32x4.add(c, d);
    b = rotate7(v128.xor(b, c));

    // Turn the diagonals into columns.
    b = v128.shuffle<u32>(b, b, 1, 2, 3, 0);
    c = v128.shuffle<u32>(c, c, 2, 3, 0, 1);
    d = v128.shuffle<u32>(d, d, 3, 0, 1, 2);

    a = i32x4.add(i32x4.add(a, b), diagonalX);
    d = rotate16(v128.xor(d, a));
    c = i32x4.add(c, d);
    b = rotate12(v128.xor(b, c));
    a = i32x4.add(i32x4.add(a, b), diagonalY);
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
 * Chaining value of one chunk of 0 to 1024 bytes into `out`; with ROOT in `lastFlags`, the digest.
 */
export function chunk1(
  data: usize, length: u32, counter: u64, key: usize, flags: u32, lastFlags: u32, out: usize,
): void {
  v128.store(out, v128.load(key));
  v128.store(out, v128.load(key, 16), 16);
  let start = CHUNK_START;
  for (; length > BLOCK; length -= BLOCK, data += BLOCK) {
    compress1(out, data, BLOCK, counter, flags | start);
    start = 0;
  }
  if (length < BLOCK) {
    memory.fill(PADDED1, 0, BLOCK);
    memory.copy(PADDED1, data, length);
    data = PADDED1;
  }
  compress1(out, data, length, counter, flags | start | CHUNK_END | lastFlags);
}
