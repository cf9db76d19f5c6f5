// Between the order of bytes in memory and that of lanes: vector i holds word i of four lanes.
import { JOB_OUT, MESSAGE, POINTERS, STATE, VALUES } from "../scratch";
import { copyValue } from "./words";

/** Loads the 64 bytes that each of the four POINTERS from `lane` on points at, word by word, to MESSAGE. */
// @ts-ignore
@inline
export function gather(lane: usize): void {
  const pointers = POINTERS + (lane << 2);
  const p0 = <usize>load<u32>(pointers);
  const p1 = <usize>load<u32>(pointers, 4);
  const p2 = <usize>load<u32>(pointers, 8);
  const p3 = <usize>load<u32>(pointers, 12);
  const to = MESSAGE + (lane << 6);
  for (let at: usize = 0; at < 64; at += 16) {
    const a = v128.load(p0 + at);
    const b = v128.load(p1 + at);
    const c = v128.load(p2 + at);
    const d = v128.load(p3 + at);
    const ab01 = v128.shuffle<u32>(a, b, 0, 4, 1, 5);
    const ab23 = v128.shuffle<u32>(a, b, 2, 6, 3, 7);
    const cd01 = v128.shuffle<u32>(c, d, 0, 4, 1, 5);
    const cd23 = v128.shuffle<u32>(c, d, 2, 6, 3, 7);
    const row = to + (at << 2);
    v128.store(row, v128.shuffle<u64>(ab01, cd01, 0, 2));
    v128.store(row, v128.shuffle<u64>(ab01, cd01, 1, 3), 16);
    v128.store(row, v128.shuffle<u64>(ab23, cd23, 0, 2), 32);
    v128.store(row, v128.shuffle<u64>(ab23, cd23, 1, 3), 48);
  }
}

/** Writes the chaining values of the first `count` lanes to where JOB_OUT says. */
export function scatter(count: u32): void {
  for (let lane: u32 = 0; lane < count; lane++) {
    if ((lane & 3) == 0) transposeValues(STATE + (lane << 5), VALUES);
    copyValue(load<u32>(JOB_OUT + (lane << 2)), VALUES + ((lane & 3) << 5));
  }
}

/** Turns 8 vectors at `from` into four chaining values of 32 bytes at `to`. */
function transposeValues(from: usize, to: usize): void {
  for (let half: usize = 0; half < 32; half += 16) {
    const vectors = from + (half << 2);
    const a = v128.load(vectors);
    const b = v128.load(vectors, 16);
    const c = v128.load(vectors, 32);
    const d = v128.load(vectors, 48);
    const ab01 = v128.shuffle<u32>(a, b, 0, 4, 1, 5);
    const ab23 = v128.shuffle<u32>(a, b, 2, 6, 3, 7);
    const cd01 = v128.shuffle<u32>(c, d, 0, 4, 1, 5);
    const cd23 = v128.shuffle<u32>(c, d, 2, 6, 3, 7);
    v128.store(to + half, v128.shuffle<u64>(ab01, cd01, 0, 2));
    v128.store(to + half, v128.shuffle<u64>(ab01, cd01, 1, 3), 32);
    v128.store(to + half, v128.shuffle<u64>(ab23, cd23, 0, 2), 64);
    v128.store(to + half, v128.shuffle<u64>(ab23, cd23, 1, 3), 96);
  }
}

/** Starts all lanes with the 32 bytes at `key`. */
export function startAll(key: usize): void {
  for (let i: usize = 0; i < 8; i++) {
    const word = v128.load32_splat(key + (i << 2));
    v128.store(STATE + (i << 4), word);
    v128.store(STATE + (i << 4), word, 128);
  }
}

/** Starts `lane` anew with the 32 bytes at `key`. */
export function startLane(lane: usize, key: usize): void {
  const to = STATE + ((lane >> 2) << 7) + ((lane & 3) << 2);
  for (let i: usize = 0; i < 8; i++) store<u32>(to + (i << 4), load<u32>(key + (i << 2)));
}
