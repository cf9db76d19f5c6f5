// Up to eight compression jobs side by side, of any lengths: chunks and parents of one tree or of many.
// Jobs end together: a shorter one begins later, and its lane computes nothing of use until then.
import {
  COUNTERS_HIGH, COUNTERS_LOW, FLAGS, JOB_BLOCKS, JOB_DATA, JOB_FIRST, JOB_LAST, JOB_LENGTH, JOB_OUT, LENGTHS, PADDED,
  POINTERS, STATE, STRIDES,
} from "../scratch";
import { blocks1 } from "./compress1";
import { compress4, compress8 } from "./compress8";
import { BLOCK, CHUNK_END, CHUNK_START, PARENT } from "./constants";
import { gather, scatter } from "./transpose";

const LANES: u32 = 8;
let jobs: u32 = 0;
let jobKey: usize = 0;
let jobFlags: u32 = 0;
/** Blocks of the shortest and of the longest job in the queue. */
let shortest: u32 = u32.MAX_VALUE;
let longest: u32 = 0;

/** All jobs until the next `open` share the key and these flags. */
export function open(key: usize, flags: u32): void {
  jobKey = key;
  jobFlags = flags;
}

/** Queues a chunk of 0 to 1024 bytes; `last` is ROOT if it is the whole input, else 0. */
export function pushChunk(data: usize, length: u32, counter: u64, last: u32, out: usize): void {
  push(data, length, counter, CHUNK_START, CHUNK_END | last, out);
}

/** Queues the parent of the two chaining values at `children`; `last` is ROOT or 0. */
export function pushParent(children: usize, last: u32, out: usize): void {
  push(children, BLOCK, 0, PARENT, last, out);
}

/** Results are at `out` after `run` at the latest; input must stay until then. */
function push(data: usize, length: u32, counter: u64, first: u32, last: u32, out: usize): void {
  const lane = jobs << 2;
  const blocks = max<u32>((length + BLOCK - 1) / BLOCK, 1);
  shortest = min<u32>(shortest, blocks);
  longest = max<u32>(longest, blocks);
  store<u32>(JOB_DATA + lane, data);
  store<u32>(JOB_LENGTH + lane, length);
  store<u32>(JOB_BLOCKS + lane, blocks);
  store<u32>(JOB_FIRST + lane, first);
  store<u32>(JOB_LAST + lane, last);
  store<u32>(JOB_OUT + lane, out);
  store<u32>(COUNTERS_LOW + lane, <u32>counter);
  store<u32>(COUNTERS_HIGH + lane, <u32>(counter >> 32));
  if (++jobs == LANES) run();
}

/** Finishes all jobs in the queue. */
export function run(): void {
  if (jobs == 1) runAlone();
  else if (jobs) runTogether(jobs);
  jobs = 0;
  shortest = u32.MAX_VALUE;
  longest = 0;
}

function runAlone(): void {
  const counter = ((<u64>load<u32>(COUNTERS_HIGH)) << 32) | load<u32>(COUNTERS_LOW);
  blocks1(
    load<u32>(JOB_DATA), load<u32>(JOB_LENGTH), counter, jobKey, jobFlags, load<u32>(JOB_FIRST), load<u32>(JOB_LAST),
    load<u32>(JOB_OUT),
  );
}

function runTogether(count: u32): void {
  // A lane without a job never begins. It reads the same valid address again and again.
  for (let lane = count; lane < LANES; lane++) store<u32>(JOB_BLOCKS + (lane << 2), 0);
  for (let group: usize = 0; group < 32; group += 16) {
    v128.store(POINTERS + group, i32x4.splat(0));
    v128.store(STRIDES + group, i32x4.splat(0));
    v128.store(LENGTHS + group, i32x4.splat(BLOCK));
  }
  const wide = count > 4;
  let left = longest;
  for (;;) {
    // `left` blocks are to be done in the longest job: those of this length begin here.
    begin(0, left);
    if (wide) begin(16, left);
    if (left == 1) break;
    const next: u32 = shortest == longest ? 1 : nextLength(left);
    step(wide);
    noEdge();
    while (--left > next) step(wide);
  }
  end(0);
  if (wide) end(16);
  step(wide);
  scatter(count);
}

/** Blocks of the longest job with fewer than `left`, at least 1. */
function nextLength(left: u32): u32 {
  let next: u32 = 1;
  for (let lane: u32 = 0; lane < LANES; lane++) {
    const blocks = load<u32>(JOB_BLOCKS + (lane << 2));
    if (blocks < left) next = max<u32>(next, blocks);
  }
  return next;
}

/** Starts those of the four lanes of `group` (0 or 16) whose jobs have `left` blocks. */
function begin(group: usize, left: u32): void {
  const starting = i32x4.eq(v128.load(JOB_BLOCKS + group), i32x4.splat(left));
  v128.store(POINTERS + group, v128.bitselect(v128.load(JOB_DATA + group), v128.load(POINTERS + group), starting));
  v128.store(STRIDES + group, v128.or(v128.load(STRIDES + group), v128.and(starting, i32x4.splat(BLOCK))));
  v128.store(FLAGS + group, v128.or(i32x4.splat(jobFlags), v128.and(starting, v128.load(JOB_FIRST + group))));
  let word = STATE + (group << 3);
  for (let i: usize = 0; i < 8; i++, word += 16) {
    v128.store(word, v128.bitselect(v128.load32_splat(jobKey + (i << 2)), v128.load(word), starting));
  }
}

function noEdge(): void {
  v128.store(FLAGS, i32x4.splat(jobFlags));
  v128.store(FLAGS, i32x4.splat(jobFlags), 16);
}

/** Prepares the last block of the four lanes of `group`. */
function end(group: usize): void {
  v128.store(FLAGS + group, v128.or(v128.load(FLAGS + group), v128.load(JOB_LAST + group)));
  const before = i32x4.shl(i32x4.sub(v128.load(JOB_BLOCKS + group), i32x4.splat(1)), 6);
  const lengths = i32x4.sub(v128.load(JOB_LENGTH + group), before);
  v128.store(LENGTHS + group, lengths);
  if (v128.any_true(i32x4.lt_u(lengths, i32x4.splat(BLOCK)))) {
    for (let at = group; at < group + 16; at += 4) {
      const length = load<u32>(LENGTHS + at);
      if (length < BLOCK && load<u32>(JOB_BLOCKS + at)) {
        const block = PADDED + (at << 4);
        memory.fill(block, 0, BLOCK);
        memory.copy(block, load<u32>(POINTERS + at), length);
        store<u32>(POINTERS + at, block);
      }
    }
  }
}

/** Compresses the next block of every lane. */
function step(wide: bool): void {
  gather(0);
  v128.store(POINTERS, i32x4.add(v128.load(POINTERS), v128.load(STRIDES)));
  if (wide) {
    gather(4);
    v128.store(POINTERS, i32x4.add(v128.load(POINTERS, 16), v128.load(STRIDES, 16)), 16);
    compress8();
  } else {
    compress4();
  }
}
