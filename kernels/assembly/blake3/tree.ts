// Hashing by levels: chunks four at a time, then parents four at a time, until one or two values are left.
import { begin4, compress4, gather4, scatter4 } from "./compress4";
import { chunk1, compress1 } from "./compress1";
import { BLOCK, BLOCKS_PER_CHUNK, CHUNK, CHUNK_END, CHUNK_START, CV, PARENT, ROOT } from "./constants";
import { JOINED, LANES, LARGE, LEVEL } from "../scratch";
import { stateFinish, stateInit, stateUpdate } from "./state";

/** Chunks of the largest tree that is hashed level by level; larger inputs go through a state. */
export const GROUP_CHUNKS: u32 = 128;
export const GROUP: u32 = GROUP_CHUNKS * CHUNK;

/** Chaining values of `count` (1 to 4) whole chunks into `out`, which is written for all four lanes. */
function chunks4(data: usize, count: u32, counter: u64, key: usize, flags: u32, out: usize): void {
  const last = count - 1;
  let p0 = data;
  let p1 = data + CHUNK * min<u32>(1, last);
  let p2 = data + CHUNK * min<u32>(2, last);
  let p3 = data + CHUNK * last;
  const low = i32x4(0, 0, 0, 0);
  const counterLow = i32x4.replace_lane(i32x4.replace_lane(i32x4.replace_lane(i32x4.replace_lane(low,
    0, <u32>counter), 1, <u32>(counter + 1)), 2, <u32>(counter + 2)), 3, <u32>(counter + 3));
  const counterHigh = i32x4.replace_lane(i32x4.replace_lane(i32x4.replace_lane(i32x4.replace_lane(low,
    0, <u32>(counter >> 32)), 1, <u32>((counter + 1) >> 32)), 2, <u32>((counter + 2) >> 32)), 3, <u32>((counter + 3) >> 32));
  begin4(LANES, key);
  for (let block: u32 = 0; block < BLOCKS_PER_CHUNK; block++) {
    gather4(p0, p1, p2, p3);
    const edge = block == 0 ? CHUNK_START : block == BLOCKS_PER_CHUNK - 1 ? CHUNK_END : 0;
    compress4(LANES, counterLow, counterHigh, BLOCK, flags | edge);
    p0 += BLOCK;
    p1 += BLOCK;
    p2 += BLOCK;
    p3 += BLOCK;
  }
  scatter4(LANES, out);
}

/** Replaces the `count` values at LEVEL by those of their parents; an odd last one moves up as it is. */
function parents(count: u32, key: usize, flags: u32): u32 {
  const pairs = count >> 1;
  const zero = i32x4(0, 0, 0, 0);
  for (let pair: u32 = 0; pair < pairs; pair += 4) {
    const left = pairs - pair;
    const from = LEVEL + pair * BLOCK;
    const to = LEVEL + pair * CV;
    if (left == 1) {
      parent(from, key, flags, to);
    } else {
      begin4(LANES, key);
      gather4(from, from + BLOCK, from + BLOCK * min<u32>(2, left - 1), from + BLOCK * min<u32>(3, left - 1));
      compress4(LANES, zero, zero, BLOCK, flags | PARENT);
      scatter4(LANES, to);
    }
  }
  if (count & 1) memory.copy(LEVEL + pairs * CV, LEVEL + (count - 1) * CV, CV);
  return (count + 1) >> 1;
}

/**
 * Reduces 1 to GROUP bytes to one chaining value (a lone chunk) or two, at LEVEL; returns how many.
 * Two are not JOINED, because the caller knows whether their parent is the root.
 */
export function reduce(data: usize, length: u32, counter: u64, key: usize, flags: u32): u32 {
  const whole = length / CHUNK;
  let count: u32 = 0;
  while (count < whole) {
    const left = whole - count;
    const at = data + count * CHUNK;
    const out = LEVEL + count * CV;
    if (left == 1) {
      chunk1(at, CHUNK, counter + count, key, flags, 0, out);
      count++;
    } else {
      const step = min<u32>(left, 4);
      chunks4(at, step, counter + count, key, flags, out);
      count += step;
    }
  }
  const tail = length % CHUNK;
  if (tail) {
    chunk1(data + count * CHUNK, tail, counter + count, key, flags, 0, LEVEL + count * CV);
    count++;
  }
  while (count > 2) count = parents(count, key, flags);
  return count;
}

/** Compresses the two chaining values at `children` (64 bytes) into `out`; add ROOT to `flags` for a digest. */
export function parent(children: usize, key: usize, flags: u32, out: usize): void {
  // `out` may be `children`: the block is in registers before the key overwrites it.
  const a = v128.load(children);
  const b = v128.load(children, 16);
  const c = v128.load(children, 32);
  const d = v128.load(children, 48);
  v128.store(JOINED, a);
  v128.store(JOINED, b, 16);
  v128.store(JOINED, c, 32);
  v128.store(JOINED, d, 48);
  v128.store(out, v128.load(key));
  v128.store(out, v128.load(key, 16), 16);
  compress1(out, JOINED, BLOCK, 0, flags | PARENT);
}

/**
 * Hashes `length` bytes in place. The input starts at chunk `counter` of its file;
 * `root` is ROOT for a digest, 0 for the chaining value of a subtree.
 */
export function hash(
  data: usize, length: u32, key: usize, flags: u32, counterLow: u32, counterHigh: u32, root: u32, out: usize,
): void {
  const counter = ((<u64>counterHigh) << 32) | counterLow;
  if (length <= CHUNK) {
    chunk1(data, length, counter, key, flags, root, out);
  } else if (length <= GROUP) {
    reduce(data, length, counter, key, flags);
    parent(LEVEL, key, flags | root, out);
  } else {
    stateInit(LARGE, key, flags, counterLow, counterHigh);
    stateUpdate(LARGE, data, length);
    stateFinish(LARGE, root, out);
  }
}
