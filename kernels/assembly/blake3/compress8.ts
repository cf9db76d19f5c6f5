// Four or eight BLAKE3 compressions at once, one in each 32-bit lane: vector i of a group holds word i
// of its four. Eight are two groups that take turns: one group alone leaves the processor waiting for
// its own results, because each step of a compression needs the one before it. The order of the
// statements was chosen by measurement: two columns at a time keep most of the state in registers.
import { COUNTERS_HIGH, COUNTERS_LOW, FLAGS, LENGTHS, MESSAGE, STATE } from "../scratch";
import { IV0, IV1, IV2, IV3 } from "./constants";
import { add3, rotate12, rotate7 } from "./words";

/** Address of each message word (MESSAGE, 64, and up) by round: the permutation of section 2.2 applied over and over. */
const schedule: usize = memory.data<u32>([
  64, 80, 96, 112, 128, 144, 160, 176, 192, 208, 224, 240, 256, 272, 288, 304,
  96, 160, 112, 224, 176, 64, 128, 272, 80, 240, 256, 144, 208, 288, 304, 192,
  112, 128, 224, 256, 272, 96, 176, 288, 160, 144, 208, 64, 240, 304, 192, 80,
  224, 176, 256, 208, 288, 112, 272, 304, 128, 64, 240, 96, 144, 192, 80, 160,
  256, 272, 208, 240, 304, 224, 288, 192, 176, 96, 144, 112, 64, 80, 160, 128,
  208, 288, 240, 144, 192, 256, 304, 80, 272, 112, 64, 224, 96, 160, 128, 176,
  240, 304, 144, 64, 80, 208, 192, 160, 288, 224, 96, 256, 112, 128, 176, 272,
]);
const scheduleEnd: usize = schedule + 7 * 64;

/** Word `index` of the round that is described at `round`, in the first group and in the second. */
// @ts-ignore: decorator
@inline
function word(round: usize, index: usize): v128 {
  return v128.load(load<u32>(round + (index << 2)));
}

// @ts-ignore: decorator
@inline
function word2(round: usize, index: usize): v128 {
  return v128.load(load<u32>(round + (index << 2)), 256);
}

/** Compresses the first group of MESSAGE into the first group of STATE. */
export function compress4(): void {
  // As locals, so that no optimiser copies the constants into every use.
  const by16 = i8x16(2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13);
  const by8 = i8x16(1, 2, 3, 0, 5, 6, 7, 4, 9, 10, 11, 8, 13, 14, 15, 12);
  let a0 = v128.load(STATE, 0);
  let a1 = v128.load(STATE, 16);
  let a2 = v128.load(STATE, 32);
  let a3 = v128.load(STATE, 48);
  let a4 = v128.load(STATE, 64);
  let a5 = v128.load(STATE, 80);
  let a6 = v128.load(STATE, 96);
  let a7 = v128.load(STATE, 112);
  let a8 = i32x4.splat(IV0);
  let a9 = i32x4.splat(IV1);
  let a10 = i32x4.splat(IV2);
  let a11 = i32x4.splat(IV3);
  let a12 = v128.load(COUNTERS_LOW);
  let a13 = v128.load(COUNTERS_HIGH);
  let a14 = v128.load(LENGTHS);
  let a15 = v128.load(FLAGS);
  for (let round = schedule; round < scheduleEnd; round += 64) {
    // Columns.
    a0 = add3(a0, word(round, 0), a4); a1 = add3(a1, word(round, 2), a5);
    a2 = add3(a2, word(round, 4), a6); a3 = add3(a3, word(round, 6), a7);
    a12 = i8x16.swizzle(v128.xor(a12, a0), by16); a13 = i8x16.swizzle(v128.xor(a13, a1), by16);
    a14 = i8x16.swizzle(v128.xor(a14, a2), by16); a15 = i8x16.swizzle(v128.xor(a15, a3), by16);
    a8 = i32x4.add(a8, a12); a9 = i32x4.add(a9, a13); a10 = i32x4.add(a10, a14); a11 = i32x4.add(a11, a15);
    a4 = rotate12(v128.xor(a4, a8)); a5 = rotate12(v128.xor(a5, a9));
    a6 = rotate12(v128.xor(a6, a10)); a7 = rotate12(v128.xor(a7, a11));
    a0 = add3(a0, word(round, 1), a4); a1 = add3(a1, word(round, 3), a5);
    a2 = add3(a2, word(round, 5), a6); a3 = add3(a3, word(round, 7), a7);
    a12 = i8x16.swizzle(v128.xor(a12, a0), by8); a13 = i8x16.swizzle(v128.xor(a13, a1), by8);
    a14 = i8x16.swizzle(v128.xor(a14, a2), by8); a15 = i8x16.swizzle(v128.xor(a15, a3), by8);
    a8 = i32x4.add(a8, a12); a9 = i32x4.add(a9, a13); a10 = i32x4.add(a10, a14); a11 = i32x4.add(a11, a15);
    a4 = rotate7(v128.xor(a4, a8)); a5 = rotate7(v128.xor(a5, a9));
    a6 = rotate7(v128.xor(a6, a10)); a7 = rotate7(v128.xor(a7, a11));
    // Diagonals.
    a0 = add3(a0, word(round, 8), a5); a1 = add3(a1, word(round, 10), a6);
    a2 = add3(a2, word(round, 12), a7); a3 = add3(a3, word(round, 14), a4);
    a15 = i8x16.swizzle(v128.xor(a15, a0), by16); a12 = i8x16.swizzle(v128.xor(a12, a1), by16);
    a13 = i8x16.swizzle(v128.xor(a13, a2), by16); a14 = i8x16.swizzle(v128.xor(a14, a3), by16);
    a10 = i32x4.add(a10, a15); a11 = i32x4.add(a11, a12); a8 = i32x4.add(a8, a13); a9 = i32x4.add(a9, a14);
    a5 = rotate12(v128.xor(a5, a10)); a6 = rotate12(v128.xor(a6, a11));
    a7 = rotate12(v128.xor(a7, a8)); a4 = rotate12(v128.xor(a4, a9));
    a0 = add3(a0, word(round, 9), a5); a1 = add3(a1, word(round, 11), a6);
    a2 = add3(a2, word(round, 13), a7); a3 = add3(a3, word(round, 15), a4);
    a15 = i8x16.swizzle(v128.xor(a15, a0), by8); a12 = i8x16.swizzle(v128.xor(a12, a1), by8);
    a13 = i8x16.swizzle(v128.xor(a13, a2), by8); a14 = i8x16.swizzle(v128.xor(a14, a3), by8);
    a10 = i32x4.add(a10, a15); a11 = i32x4.add(a11, a12); a8 = i32x4.add(a8, a13); a9 = i32x4.add(a9, a14);
    a5 = rotate7(v128.xor(a5, a10)); a6 = rotate7(v128.xor(a6, a11));
    a7 = rotate7(v128.xor(a7, a8)); a4 = rotate7(v128.xor(a4, a9));
  }
  v128.store(STATE, v128.xor(a0, a8), 0);
  v128.store(STATE, v128.xor(a1, a9), 16);
  v128.store(STATE, v128.xor(a2, a10), 32);
  v128.store(STATE, v128.xor(a3, a11), 48);
  v128.store(STATE, v128.xor(a4, a12), 64);
  v128.store(STATE, v128.xor(a5, a13), 80);
  v128.store(STATE, v128.xor(a6, a14), 96);
  v128.store(STATE, v128.xor(a7, a15), 112);
}

/** Compresses both groups of MESSAGE into both groups of STATE. */
export function compress8(): void {
  // As locals, so that no optimiser copies the constants into every use.
  const by16 = i8x16(2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13);
  const by8 = i8x16(1, 2, 3, 0, 5, 6, 7, 4, 9, 10, 11, 8, 13, 14, 15, 12);
  let a0 = v128.load(STATE, 0);
  let a1 = v128.load(STATE, 16);
  let a2 = v128.load(STATE, 32);
  let a3 = v128.load(STATE, 48);
  let a4 = v128.load(STATE, 64);
  let a5 = v128.load(STATE, 80);
  let a6 = v128.load(STATE, 96);
  let a7 = v128.load(STATE, 112);
  let a8 = i32x4.splat(IV0);
  let a9 = i32x4.splat(IV1);
  let a10 = i32x4.splat(IV2);
  let a11 = i32x4.splat(IV3);
  let a12 = v128.load(COUNTERS_LOW);
  let a13 = v128.load(COUNTERS_HIGH);
  let a14 = v128.load(LENGTHS);
  let a15 = v128.load(FLAGS);
  let b0 = v128.load(STATE, 128);
  let b1 = v128.load(STATE, 144);
  let b2 = v128.load(STATE, 160);
  let b3 = v128.load(STATE, 176);
  let b4 = v128.load(STATE, 192);
  let b5 = v128.load(STATE, 208);
  let b6 = v128.load(STATE, 224);
  let b7 = v128.load(STATE, 240);
  let b8 = i32x4.splat(IV0);
  let b9 = i32x4.splat(IV1);
  let b10 = i32x4.splat(IV2);
  let b11 = i32x4.splat(IV3);
  let b12 = v128.load(COUNTERS_LOW, 16);
  let b13 = v128.load(COUNTERS_HIGH, 16);
  let b14 = v128.load(LENGTHS, 16);
  let b15 = v128.load(FLAGS, 16);
  for (let round = schedule; round < scheduleEnd; round += 64) {
    // Columns of the first group.
    a0 = add3(a0, word(round, 0), a4); a1 = add3(a1, word(round, 2), a5);
    a12 = i8x16.swizzle(v128.xor(a12, a0), by16); a13 = i8x16.swizzle(v128.xor(a13, a1), by16);
    a8 = i32x4.add(a8, a12); a9 = i32x4.add(a9, a13);
    a4 = rotate12(v128.xor(a4, a8)); a5 = rotate12(v128.xor(a5, a9));
    a0 = add3(a0, word(round, 1), a4); a1 = add3(a1, word(round, 3), a5);
    a12 = i8x16.swizzle(v128.xor(a12, a0), by8); a13 = i8x16.swizzle(v128.xor(a13, a1), by8);
    a8 = i32x4.add(a8, a12); a9 = i32x4.add(a9, a13);
    a4 = rotate7(v128.xor(a4, a8)); a5 = rotate7(v128.xor(a5, a9));
    a2 = add3(a2, word(round, 4), a6); a3 = add3(a3, word(round, 6), a7);
    a14 = i8x16.swizzle(v128.xor(a14, a2), by16); a15 = i8x16.swizzle(v128.xor(a15, a3), by16);
    a10 = i32x4.add(a10, a14); a11 = i32x4.add(a11, a15);
    a6 = rotate12(v128.xor(a6, a10)); a7 = rotate12(v128.xor(a7, a11));
    a2 = add3(a2, word(round, 5), a6); a3 = add3(a3, word(round, 7), a7);
    a14 = i8x16.swizzle(v128.xor(a14, a2), by8); a15 = i8x16.swizzle(v128.xor(a15, a3), by8);
    a10 = i32x4.add(a10, a14); a11 = i32x4.add(a11, a15);
    a6 = rotate7(v128.xor(a6, a10)); a7 = rotate7(v128.xor(a7, a11));
    // Columns of the second group.
    b0 = add3(b0, word2(round, 0), b4); b1 = add3(b1, word2(round, 2), b5);
    b12 = i8x16.swizzle(v128.xor(b12, b0), by16); b13 = i8x16.swizzle(v128.xor(b13, b1), by16);
    b8 = i32x4.add(b8, b12); b9 = i32x4.add(b9, b13);
    b4 = rotate12(v128.xor(b4, b8)); b5 = rotate12(v128.xor(b5, b9));
    b0 = add3(b0, word2(round, 1), b4); b1 = add3(b1, word2(round, 3), b5);
    b12 = i8x16.swizzle(v128.xor(b12, b0), by8); b13 = i8x16.swizzle(v128.xor(b13, b1), by8);
    b8 = i32x4.add(b8, b12); b9 = i32x4.add(b9, b13);
    b4 = rotate7(v128.xor(b4, b8)); b5 = rotate7(v128.xor(b5, b9));
    b2 = add3(b2, word2(round, 4), b6); b3 = add3(b3, word2(round, 6), b7);
    b14 = i8x16.swizzle(v128.xor(b14, b2), by16); b15 = i8x16.swizzle(v128.xor(b15, b3), by16);
    b10 = i32x4.add(b10, b14); b11 = i32x4.add(b11, b15);
    b6 = rotate12(v128.xor(b6, b10)); b7 = rotate12(v128.xor(b7, b11));
    b2 = add3(b2, word2(round, 5), b6); b3 = add3(b3, word2(round, 7), b7);
    b14 = i8x16.swizzle(v128.xor(b14, b2), by8); b15 = i8x16.swizzle(v128.xor(b15, b3), by8);
    b10 = i32x4.add(b10, b14); b11 = i32x4.add(b11, b15);
    b6 = rotate7(v128.xor(b6, b10)); b7 = rotate7(v128.xor(b7, b11));
    // Diagonals of the first group.
    a0 = add3(a0, word(round, 8), a5); a1 = add3(a1, word(round, 10), a6);
    a15 = i8x16.swizzle(v128.xor(a15, a0), by16); a12 = i8x16.swizzle(v128.xor(a12, a1), by16);
    a10 = i32x4.add(a10, a15); a11 = i32x4.add(a11, a12);
    a5 = rotate12(v128.xor(a5, a10)); a6 = rotate12(v128.xor(a6, a11));
    a0 = add3(a0, word(round, 9), a5); a1 = add3(a1, word(round, 11), a6);
    a15 = i8x16.swizzle(v128.xor(a15, a0), by8); a12 = i8x16.swizzle(v128.xor(a12, a1), by8);
    a10 = i32x4.add(a10, a15); a11 = i32x4.add(a11, a12);
    a5 = rotate7(v128.xor(a5, a10)); a6 = rotate7(v128.xor(a6, a11));
    a2 = add3(a2, word(round, 12), a7); a3 = add3(a3, word(round, 14), a4);
    a13 = i8x16.swizzle(v128.xor(a13, a2), by16); a14 = i8x16.swizzle(v128.xor(a14, a3), by16);
    a8 = i32x4.add(a8, a13); a9 = i32x4.add(a9, a14);
    a7 = rotate12(v128.xor(a7, a8)); a4 = rotate12(v128.xor(a4, a9));
    a2 = add3(a2, word(round, 13), a7); a3 = add3(a3, word(round, 15), a4);
    a13 = i8x16.swizzle(v128.xor(a13, a2), by8); a14 = i8x16.swizzle(v128.xor(a14, a3), by8);
    a8 = i32x4.add(a8, a13); a9 = i32x4.add(a9, a14);
    a7 = rotate7(v128.xor(a7, a8)); a4 = rotate7(v128.xor(a4, a9));
    // Diagonals of the second group.
    b0 = add3(b0, word2(round, 8), b5); b1 = add3(b1, word2(round, 10), b6);
    b15 = i8x16.swizzle(v128.xor(b15, b0), by16); b12 = i8x16.swizzle(v128.xor(b12, b1), by16);
    b10 = i32x4.add(b10, b15); b11 = i32x4.add(b11, b12);
    b5 = rotate12(v128.xor(b5, b10)); b6 = rotate12(v128.xor(b6, b11));
    b0 = add3(b0, word2(round, 9), b5); b1 = add3(b1, word2(round, 11), b6);
    b15 = i8x16.swizzle(v128.xor(b15, b0), by8); b12 = i8x16.swizzle(v128.xor(b12, b1), by8);
    b10 = i32x4.add(b10, b15); b11 = i32x4.add(b11, b12);
    b5 = rotate7(v128.xor(b5, b10)); b6 = rotate7(v128.xor(b6, b11));
    b2 = add3(b2, word2(round, 12), b7); b3 = add3(b3, word2(round, 14), b4);
    b13 = i8x16.swizzle(v128.xor(b13, b2), by16); b14 = i8x16.swizzle(v128.xor(b14, b3), by16);
    b8 = i32x4.add(b8, b13); b9 = i32x4.add(b9, b14);
    b7 = rotate12(v128.xor(b7, b8)); b4 = rotate12(v128.xor(b4, b9));
    b2 = add3(b2, word2(round, 13), b7); b3 = add3(b3, word2(round, 15), b4);
    b13 = i8x16.swizzle(v128.xor(b13, b2), by8); b14 = i8x16.swizzle(v128.xor(b14, b3), by8);
    b8 = i32x4.add(b8, b13); b9 = i32x4.add(b9, b14);
    b7 = rotate7(v128.xor(b7, b8)); b4 = rotate7(v128.xor(b4, b9));
  }
  v128.store(STATE, v128.xor(a0, a8), 0);
  v128.store(STATE, v128.xor(a1, a9), 16);
  v128.store(STATE, v128.xor(a2, a10), 32);
  v128.store(STATE, v128.xor(a3, a11), 48);
  v128.store(STATE, v128.xor(a4, a12), 64);
  v128.store(STATE, v128.xor(a5, a13), 80);
  v128.store(STATE, v128.xor(a6, a14), 96);
  v128.store(STATE, v128.xor(a7, a15), 112);
  v128.store(STATE, v128.xor(b0, b8), 128);
  v128.store(STATE, v128.xor(b1, b9), 144);
  v128.store(STATE, v128.xor(b2, b10), 160);
  v128.store(STATE, v128.xor(b3, b11), 176);
  v128.store(STATE, v128.xor(b4, b12), 192);
  v128.store(STATE, v128.xor(b5, b13), 208);
  v128.store(STATE, v128.xor(b6, b14), 224);
  v128.store(STATE, v128.xor(b7, b15), 240);
}
