// Digests of many items in one call: four neighbours of equal length share the lanes,
// so that even an item of a few chunks keeps all four busy. Any other item is hashed alone.
import { begin4, compress4, gather4, scatter4 } from "./compress4";
import { BLOCK, CHUNK, CHUNK_END, CHUNK_START, CV, PARENT, ROOT } from "./constants";
import { hash } from "./tree";
import { MESSAGE4, PADDED4, STATES } from "../scratch";

/** Longer items fill the lanes with their own chunks. */
const SHARED_CHUNKS: u32 = 32;
const STATE: u32 = 128;

/** `items` holds `count` pairs of u32 (pointer, length); `out` receives 32 bytes for each. */
export function hashMany(items: usize, count: u32, key: usize, flags: u32, out: usize): void {
  while (count) {
    const length = load<u32>(items, 4);
    if (
      count >= 4 && length <= SHARED_CHUNKS * CHUNK &&
      load<u32>(items, 12) == length && load<u32>(items, 20) == length && load<u32>(items, 28) == length
    ) {
      hash4(load<u32>(items), load<u32>(items, 8), load<u32>(items, 16), load<u32>(items, 24), length, key, flags, out);
      items += 32;
      out += 4 * CV;
      count -= 4;
    } else {
      hash(load<u32>(items), length, key, flags, 0, 0, ROOT, out);
      items += 8;
      out += CV;
      count--;
    }
  }
}

function hash4(p0: usize, p1: usize, p2: usize, p3: usize, length: u32, key: usize, flags: u32, out: usize): void {
  const zero = i32x4(0, 0, 0, 0);
  let count: u32 = 0;
  const only = length <= CHUNK ? ROOT : 0;
  do {
    const state = STATES + count * STATE;
    begin4(state, key);
    let left = min<u32>(length, CHUNK);
    length -= left;
    let edge = CHUNK_START;
    for (; left > BLOCK; left -= BLOCK) {
      gather4(p0, p1, p2, p3);
      compress4(state, i32x4.splat(count), zero, BLOCK, flags | edge);
      edge = 0;
      p0 += BLOCK;
      p1 += BLOCK;
      p2 += BLOCK;
      p3 += BLOCK;
    }
    if (left == BLOCK) {
      gather4(p0, p1, p2, p3);
    } else {
      memory.fill(PADDED4, 0, 256);
      memory.copy(PADDED4, p0, left);
      memory.copy(PADDED4 + 64, p1, left);
      memory.copy(PADDED4 + 128, p2, left);
      memory.copy(PADDED4 + 192, p3, left);
      gather4(PADDED4, PADDED4 + 64, PADDED4 + 128, PADDED4 + 192);
    }
    compress4(state, i32x4.splat(count), zero, left, flags | edge | CHUNK_END | only);
    p0 += left;
    p1 += left;
    p2 += left;
    p3 += left;
    count++;
  } while (length);

  while (count > 1) {
    const root = count == 2 ? ROOT : 0;
    let to: u32 = 0;
    for (let from: u32 = 0; from < count; from += 2, to++) {
      if (from + 1 == count) {
        memory.copy(STATES + to * STATE, STATES + from * STATE, STATE);
      } else {
        // Two neighbouring states, word by word and lane by lane, are the parents' message as it stands.
        memory.copy(MESSAGE4, STATES + from * STATE, 2 * STATE);
        begin4(STATES + to * STATE, key);
        compress4(STATES + to * STATE, zero, zero, BLOCK, flags | PARENT | root);
      }
    }
    count = to;
  }
  scatter4(STATES, out);
}
