// An incremental hash. Finished subtrees wait on a stack of chaining values, largest first; at most
// one chunk of input is held back. Merging is lazy, because the last merge of all must carry ROOT.
//
// Layout in bytes (the binding reserves 2880 and may move a state while nothing runs):
//   0 key · 32 chunks done, u64 · 40 first chunk, u64 · 48 flags · 52 buffered · 56 stack depth
//   64 buffer, 1024 · 1088 stack, 56 x 32
import { FOLDED, LEVEL, SINGLE } from "../scratch";
import { CHUNK, CV } from "./constants";
import { chunk, GROUP, parent, reduce } from "./tree";
import { copyValue } from "./words";

const BUFFER: usize = 64;
const STACK: usize = 1088;

export function stateInit(state: usize, key: usize, flags: u32, counterLow: u32, counterHigh: u32): void {
  copyValue(state, key);
  store<u64>(state, 0, 32);
  store<u64>(state, ((<u64>counterHigh) << 32) | counterLow, 40);
  store<u32>(state, flags, 48);
  store<u64>(state, 0, 52);
}

/** Joins the top of the stack until it holds one value for each bit set in the number of chunks done. */
function settle(state: usize, chunks: u64): void {
  const target = <u32>popcnt<u64>(chunks);
  let depth = load<u32>(state, 56);
  for (; depth > target; depth--) {
    const pair = state + STACK + (depth - 2) * CV;
    parent(pair, state, load<u32>(state, 48), pair);
  }
  store<u32>(state, depth, 56);
}

/** Pushes the value of a subtree of `chunks` chunks, merging what is complete before it. */
function push(state: usize, cv: usize, chunks: u64): void {
  const done = load<u64>(state, 32);
  settle(state, done);
  const depth = load<u32>(state, 56);
  copyValue(state + STACK + depth * CV, cv);
  store<u32>(state, depth + 1, 56);
  store<u64>(state, done + chunks, 32);
}

export function stateUpdate(state: usize, data: usize, length: u32): void {
  const flags = load<u32>(state, 48);
  const first = load<u64>(state, 40);
  let buffered = load<u32>(state, 52);
  if (buffered) {
    const take = min<u32>(CHUNK - buffered, length);
    memory.copy(state + BUFFER + buffered, data, take);
    buffered += take;
    data += take;
    length -= take;
    if (length) {
      chunk(state + BUFFER, CHUNK, first + load<u64>(state, 32), state, flags, 0, SINGLE);
      push(state, SINGLE, 1);
      buffered = 0;
    }
  }
  while (length > CHUNK) {
    const done = load<u64>(state, 32);
    // The largest power of two that fits the input and keeps the subtree aligned.
    let chunks: u64 = 1 << (31 - clz<u32>(min<u32>(length, GROUP) / CHUNK));
    if (done) chunks = min<u64>(chunks, 1 << ctz<u64>(done));
    const bytes = <u32>chunks * CHUNK;
    if (reduce(data, bytes, first + done, state, flags) == 1) {
      push(state, LEVEL, 1);
    } else {
      push(state, LEVEL, chunks >> 1);
      push(state, LEVEL + CV, chunks >> 1);
    }
    data += bytes;
    length -= bytes;
  }
  if (length) {
    memory.copy(state + BUFFER, data, length);
    buffered = length;
  }
  store<u32>(state, buffered, 52);
}

/** Writes the digest (`root` = ROOT) or the subtree's chaining value (0); the state stays as it was but for merges. */
export function stateFinish(state: usize, root: u32, out: usize): void {
  const flags = load<u32>(state, 48);
  const buffered = load<u32>(state, 52);
  const done = load<u64>(state, 32);
  if (buffered || !done) {
    settle(state, done);
    const depth = load<u32>(state, 56);
    chunk(state + BUFFER, buffered, load<u64>(state, 40) + done, state, flags, depth ? 0 : root, out);
    fold(state, depth, flags, root, out);
  } else {
    const depth = load<u32>(state, 56) - 2;
    parent(state + STACK + depth * CV, state, flags | (depth ? 0 : root), out);
    fold(state, depth, flags, root, out);
  }
}

/** Joins the value at `out`, as the right child, with the `depth` lowest values of the stack, top first. */
function fold(state: usize, depth: u32, flags: u32, root: u32, out: usize): void {
  while (depth--) {
    copyValue(FOLDED, state + STACK + depth * CV);
    copyValue(FOLDED + CV, out);
    parent(FOLDED, state, flags | (depth ? 0 : root), out);
  }
}
