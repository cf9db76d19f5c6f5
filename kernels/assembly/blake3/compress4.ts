// Four BLAKE3 compressions at once, one per 32-bit lane: vector i holds word i of all four.
import { IV0, IV1, IV2, IV3 } from "./constants";
import { MESSAGE4 } from "../scratch";

// Byte offsets into `MESSAGE4` by round: the permutation of section 2.2 applied over and over.
const schedule: usize = memory.data<u8>([
  0, 16, 32, 48, 64, 80, 96, 112, 128, 144, 160, 176, 192, 208, 224, 240,
  32, 96, 48, 160, 112, 0, 64, 208, 16, 176, 192, 80, 144, 224, 240, 128,
  48, 64, 160, 192, 208, 32, 112, 224, 96, 80, 144, 0, 176, 240, 128, 16,
  160, 112, 192, 144, 224, 48, 208, 240, 64, 0, 176, 32, 80, 128, 16, 96,
  192, 208, 144, 176, 240, 160, 224, 128, 112, 32, 80, 48, 0, 16, 96, 64,
  144, 224, 176, 80, 128, 192, 240, 16, 208, 48, 0, 160, 32, 96, 64, 112,
  176, 240, 80, 0, 16, 144, 128, 96, 224, 160, 32, 192, 48, 64, 112, 208,
]);

// @ts-ignore: decorator
@inline
function word(round: usize, index: usize): v128 {
  return v128.load(MESSAGE4 + <usize>load<u8>(round + index));
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

// @ts-ignore: decorator
@inline
function add3(x: v128, y: v128, z: v128): v128 {
  return i32x4.add(i32x4.add(x, y), z);
}

/** Loads one 64-byte block of each lane and transposes the four into `MESSAGE4`. */
export function gather4(p0: usize, p1: usize, p2: usize, p3: usize): void {
  for (let at: usize = 0; at < 64; at += 16) {
    const a = v128.load(p0 + at);
    const b = v128.load(p1 + at);
    const c = v128.load(p2 + at);
    const d = v128.load(p3 + at);
    const ab01 = v128.shuffle<u32>(a, b, 0, 4, 1, 5);
    const ab23 = v128.shuffle<u32>(a, b, 2, 6, 3, 7);
    const cd01 = v128.shuffle<u32>(c, d, 0, 4, 1, 5);
    const cd23 = v128.shuffle<u32>(c, d, 2, 6, 3, 7);
    const row = MESSAGE4 + (at << 2);
    v128.store(row, v128.shuffle<u64>(ab01, cd01, 0, 2));
    v128.store(row, v128.shuffle<u64>(ab01, cd01, 1, 3), 16);
    v128.store(row, v128.shuffle<u64>(ab23, cd23, 0, 2), 32);
    v128.store(row, v128.shuffle<u64>(ab23, cd23, 1, 3), 48);
  }
}

/** Writes four chaining values of 32 bytes each, one after the other, from the 8 vectors at `state`. */
export function scatter4(state: usize, out: usize): void {
  for (let half: usize = 0; half < 32; half += 16) {
    const vectors = state + (half << 2);
    const a = v128.load(vectors);
    const b = v128.load(vectors, 16);
    const c = v128.load(vectors, 32);
    const d = v128.load(vectors, 48);
    const ab01 = v128.shuffle<u32>(a, b, 0, 4, 1, 5);
    const ab23 = v128.shuffle<u32>(a, b, 2, 6, 3, 7);
    const cd01 = v128.shuffle<u32>(c, d, 0, 4, 1, 5);
    const cd23 = v128.shuffle<u32>(c, d, 2, 6, 3, 7);
    v128.store(out + half, v128.shuffle<u64>(ab01, cd01, 0, 2));
    v128.store(out + half, v128.shuffle<u64>(ab01, cd01, 1, 3), 32);
    v128.store(out + half, v128.shuffle<u64>(ab23, cd23, 0, 2), 64);
    v128.store(out + half, v128.shuffle<u64>(ab23, cd23, 1, 3), 96);
  }
}

/** Starts all four lanes at `state` (8 vectors) with the 32-byte key at `key`. */
export function begin4(state: usize, key: usize): void {
  for (let i: usize = 0; i < 8; i++) v128.store(state + (i << 4), i32x4.splat(load<u32>(key + (i << 2))));
}

/** Compresses `MESSAGE4` into the four chaining values at `state` (8 vectors), in place. */
export function compress4(state: usize, counterLow: v128, counterHigh: v128, blockLength: u32, flags: u32): void {
  // As locals, so that the optimiser does not copy the constants into every use.
  const by16 = i8x16(2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13);
  const by8 = i8x16(1, 2, 3, 0, 5, 6, 7, 4, 9, 10, 11, 8, 13, 14, 15, 12);
  let v0 = v128.load(state);
  let v1 = v128.load(state, 16);
  let v2 = v128.load(state, 32);
  let v3 = v128.load(state, 48);
  let v4 = v128.load(state, 64);
  let v5 = v128.load(state, 80);
  let v6 = v128.load(state, 96);
  let v7 = v128.load(state, 112);
  let v8 = i32x4.splat(IV0);
  let v9 = i32x4.splat(IV1);
  let v10 = i32x4.splat(IV2);
  let v11 = i32x4.splat(IV3);
  let v12 = counterLow;
  let v13 = counterHigh;
  let v14 = i32x4.splat(blockLength);
  let v15 = i32x4.splat(flags);

  for (let r = schedule; r < schedule + 112; r += 16) {
    // Columns.
    v0 = add3(v0, v4, word(r, 0)); v1 = add3(v1, v5, word(r, 2)); v2 = add3(v2, v6, word(r, 4)); v3 = add3(v3, v7, word(r, 6));
    v12 = i8x16.swizzle(v128.xor(v12, v0), by16); v13 = i8x16.swizzle(v128.xor(v13, v1), by16);
    v14 = i8x16.swizzle(v128.xor(v14, v2), by16); v15 = i8x16.swizzle(v128.xor(v15, v3), by16);
    v8 = i32x4.add(v8, v12); v9 = i32x4.add(v9, v13); v10 = i32x4.add(v10, v14); v11 = i32x4.add(v11, v15);
    v4 = rotate12(v128.xor(v4, v8)); v5 = rotate12(v128.xor(v5, v9)); v6 = rotate12(v128.xor(v6, v10)); v7 = rotate12(v128.xor(v7, v11));
    v0 = add3(v0, v4, word(r, 1)); v1 = add3(v1, v5, word(r, 3)); v2 = add3(v2, v6, word(r, 5)); v3 = add3(v3, v7, word(r, 7));
    v12 = i8x16.swizzle(v128.xor(v12, v0), by8); v13 = i8x16.swizzle(v128.xor(v13, v1), by8);
    v14 = i8x16.swizzle(v128.xor(v14, v2), by8); v15 = i8x16.swizzle(v128.xor(v15, v3), by8);
    v8 = i32x4.add(v8, v12); v9 = i32x4.add(v9, v13); v10 = i32x4.add(v10, v14); v11 = i32x4.add(v11, v15);
    v4 = rotate7(v128.xor(v4, v8)); v5 = rotate7(v128.xor(v5, v9)); v6 = rotate7(v128.xor(v6, v10)); v7 = rotate7(v128.xor(v7, v11));
    // Diagonals.
    v0 = add3(v0, v5, word(r, 8)); v1 = add3(v1, v6, word(r, 10)); v2 = add3(v2, v7, word(r, 12)); v3 = add3(v3, v4, word(r, 14));
    v15 = i8x16.swizzle(v128.xor(v15, v0), by16); v12 = i8x16.swizzle(v128.xor(v12, v1), by16);
    v13 = i8x16.swizzle(v128.xor(v13, v2), by16); v14 = i8x16.swizzle(v128.xor(v14, v3), by16);
    v10 = i32x4.add(v10, v15); v11 = i32x4.add(v11, v12); v8 = i32x4.add(v8, v13); v9 = i32x4.add(v9, v14);
    v5 = rotate12(v128.xor(v5, v10)); v6 = rotate12(v128.xor(v6, v11)); v7 = rotate12(v128.xor(v7, v8)); v4 = rotate12(v128.xor(v4, v9));
    v0 = add3(v0, v5, word(r, 9)); v1 = add3(v1, v6, word(r, 11)); v2 = add3(v2, v7, word(r, 13)); v3 = add3(v3, v4, word(r, 15));
    v15 = i8x16.swizzle(v128.xor(v15, v0), by8); v12 = i8x16.swizzle(v128.xor(v12, v1), by8);
    v13 = i8x16.swizzle(v128.xor(v13, v2), by8); v14 = i8x16.swizzle(v128.xor(v14, v3), by8);
    v10 = i32x4.add(v10, v15); v11 = i32x4.add(v11, v12); v8 = i32x4.add(v8, v13); v9 = i32x4.add(v9, v14);
    v5 = rotate7(v128.xor(v5, v10)); v6 = rotate7(v128.xor(v6, v11)); v7 = rotate7(v128.xor(v7, v8)); v4 = rotate7(v128.xor(v4, v9));
  }

  v128.store(state, v128.xor(v0, v8));
  v128.store(state, v128.xor(v1, v9), 16);
  v128.store(state, v128.xor(v2, v10), 32);
  v128.store(state, v128.xor(v3, v11), 48);
  v128.store(state, v128.xor(v4, v12), 64);
  v128.store(state, v128.xor(v5, v13), 80);
  v128.store(state, v128.xor(v6, v14), 96);
  v128.store(state, v128.xor(v7, v15), 112);
}
