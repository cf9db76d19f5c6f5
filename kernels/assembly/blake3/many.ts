// Digests of many items in one call. Their chunks, and then level by level their parents, share the lanes,
// so that items of a chunk or two keep all lanes busy whatever their lengths.
import { LEVEL, TREES } from "../scratch";
import { BLOCK, CHUNK, CV, ROOT } from "./constants";
import { open, pushChunk, pushParent, run } from "./lanes";
import { GROUP_CHUNKS, hash } from "./tree";
import { copyValue } from "./words";

const TREES_MAX: u32 = 128;

/** `items` holds `count` pairs of u32 (pointer, length); `out` receives 32 bytes for each. */
export function hashMany(items: usize, count: u32, key: usize, flags: u32, out: usize): void {
  while (count) {
    // As many items as have room for the chaining values of their chunks.
    let taken: u32 = 0;
    let chunks: u32 = 0;
    while (taken < min<u32>(count, TREES_MAX)) {
      const more = chunksOf(load<u32>(items + (taken << 3), 4));
      if (chunks + more > GROUP_CHUNKS) break;
      chunks += more;
      taken++;
    }
    if (taken) {
      hashTogether(items, taken, key, flags, out);
    } else {
      hash(load<u32>(items), load<u32>(items, 4), key, flags, 0, 0, ROOT, out);
      taken = 1;
    }
    items += taken << 3;
    out += taken * CV;
    count -= taken;
  }
}

// @ts-ignore: decorator
@inline
function chunksOf(length: u32): u32 {
  return length ? (length - 1) / CHUNK + 1 : 1;
}

function hashTogether(items: usize, count: u32, key: usize, flags: u32, out: usize): void {
  open(key, flags);
  let values = LEVEL;
  let unfinished: u32 = 0;
  for (let item: u32 = 0; item < count; item++) {
    const data = <usize>load<u32>(items + (item << 3));
    const length = load<u32>(items + (item << 3), 4);
    const chunks = chunksOf(length);
    const tree = TREES + (item << 3);
    store<u32>(tree, values);
    store<u32>(tree, chunks, 4);
    if (chunks == 1) {
      pushChunk(data, length, 0, ROOT, out + item * CV);
    } else {
      unfinished++;
      for (let i: u32 = 0; i < chunks; i++, values += CV) {
        pushChunk(data + i * CHUNK, min<u32>(CHUNK, length - i * CHUNK), i, 0, values);
      }
    }
  }
  run();

  while (unfinished) {
    for (let item: u32 = 0; item < count; item++) {
      const tree = TREES + (item << 3);
      const from = <usize>load<u32>(tree);
      const left = load<u32>(tree, 4);
      if (left == 2) {
        pushParent(from, ROOT, out + item * CV);
      } else {
        for (let pair: u32 = 0; pair < left >> 1; pair++) pushParent(from + pair * BLOCK, 0, from + pair * CV);
      }
    }
    run();
    for (let item: u32 = 0; item < count; item++) {
      const tree = TREES + (item << 3);
      const from = <usize>load<u32>(tree);
      const left = load<u32>(tree, 4);
      if (left == 2) unfinished--;
      if (left & 1) copyValue(from + (left >> 1) * CV, from + (left - 1) * CV);
      store<u32>(tree, left == 2 ? 1 : (left + 1) >> 1, 4);
    }
  }
}
