// Hashing by levels: all chunks of a group, then all parents above them, until one or two values are left.
import { LARGE, LEVEL } from "../scratch";
import { blocks1 } from "./compress1";
import { BLOCK, CHUNK, CHUNK_END, CHUNK_START, CV, PARENT } from "./constants";
import { open, pushChunk, pushParent, run } from "./lanes";
import { stateFinish, stateInit, stateUpdate } from "./state";
import { copyValue } from "./words";

/** Chunks of the largest tree that is hashed level by level; larger inputs go through a state. */
export const GROUP_CHUNKS: u32 = 128;
export const GROUP: u32 = GROUP_CHUNKS * CHUNK;

/**
 * Reduces 1 to GROUP bytes to one chaining value (a lone chunk) or two, at LEVEL; returns how many.
 * Two are not joined, because the caller knows whether their parent is the root.
 */
export function reduce(data: usize, length: u32, counter: u64, key: usize, flags: u32): u32 {
  open(key, flags);
  let count: u32 = 0;
  for (let at: u32 = 0; at < length; at += CHUNK, count++) {
    pushChunk(data + at, min<u32>(CHUNK, length - at), counter + count, 0, LEVEL + count * CV);
  }
  run();
  while (count > 2) {
    const pairs = count >> 1;
    for (let pair: u32 = 0; pair < pairs; pair++) pushParent(LEVEL + pair * BLOCK, 0, LEVEL + pair * CV);
    run();
    // An odd last value moves up as it is.
    if (count & 1) copyValue(LEVEL + pairs * CV, LEVEL + (count - 1) * CV);
    count = (count + 1) >> 1;
  }
  return count;
}

/** Chaining value of one chunk of 0 to 1024 bytes into `out`; with ROOT as `root`, the digest. */
export function chunk(data: usize, length: u32, counter: u64, key: usize, flags: u32, root: u32, out: usize): void {
  blocks1(data, length, counter, key, flags, CHUNK_START, CHUNK_END | root, out);
}

/** Compresses the two chaining values at `children` (64 bytes) into `out`; add ROOT to `flags` for a digest. */
export function parent(children: usize, key: usize, flags: u32, out: usize): void {
  blocks1(children, BLOCK, 0, key, flags, PARENT, 0, out);
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
    chunk(data, length, counter, key, flags, root, out);
  } else if (length <= GROUP) {
    reduce(data, length, counter, key, flags);
    parent(LEVEL, key, flags | root, out);
  } else {
    stateInit(LARGE, key, flags, counterLow, counterHigh);
    stateUpdate(LARGE, data, length);
    stateFinish(LARGE, root, out);
  }
}
