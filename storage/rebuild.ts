/** Ranges of lost shards from the same ranges of k others, in steps that fit the memory at hand. */
import type { ChunkLocation } from "../core/erasure/location.ts";
import type { RangeMemory } from "./range-memory.ts";
import type { ShardReader } from "./shard-reader.ts";

/** Bytes of all sources of one step; half of the reserve, so that two rebuilds fit it. */
const STEP_BYTES = 4 * 1024 * 1024;

export interface ShardRange {
  readonly chunk: ChunkLocation;
  readonly index: number;
  readonly offset: number;
  readonly length: number;
}

/** Takes some bytes of the range; `offset` counts from the start of the shard. They are valid during the call only. */
export type RangeSink = (offset: number, bytes: Uint8Array<ArrayBuffer>) => void;

export interface RebuildOptions {
  readonly signal?: AbortSignal;
  /** Which shards may be read: all that are not known to be lost, unless given. Asked for one after the other. */
  readonly accept?: (index: number) => Promise<boolean>;
}

/**
 * Reads a range from its shard, or rebuilds it where the shard is lost or its node fails. Waits for
 * memory, so the caller must hold none of the reserve. Not verified.
 * @throws DataStreamError `data_loss` naming chunk and nodes when fewer than k shards are left,
 *   `unavailable` when too many nodes do not answer.
 */
export async function readRange(
  reader: ShardReader,
  memory: RangeMemory,
  range: ShardRange,
  sink: RangeSink,
  options: RebuildOptions = {},
): Promise<void> {
  const { chunk, index } = range;
  for (const step of steps(range, STEP_BYTES / 2)) {
    if (!reader.passBy(chunk, index)) {
      const buffer = await memory.take(step.length, options.signal);
      try {
        const bytes = await reader.read(chunk, index, step.offset, step.length, buffer.bytes);
        if (bytes !== undefined) {
          buffer.bytes = bytes;
          sink(step.offset, bytes);
          continue;
        }
      } finally {
        buffer.free();
      }
    }
    await rebuildRange(reader, memory, { ...step, chunk, index }, sink, options);
  }
}

/** The same without asking the shard itself. */
export async function rebuildRange(
  reader: ShardReader,
  memory: RangeMemory,
  range: ShardRange,
  sink: RangeSink,
  options: RebuildOptions = {},
): Promise<void> {
  const { chunk, index } = range;
  const { dataShards: k, parityShards: m } = chunk;
  const { rs } = reader.deps.kernels;
  for (const step of steps(range, Math.floor(STEP_BYTES / k / 64) * 64)) {
    const lease = await memory.lease(step.length * k, options.signal);
    try {
      const sources = await readSources(reader, { ...step, chunk, index }, options);
      const rebuilt = rs.reconstructBytes({ k, m }, sources, [index]).get(index);
      sink(step.offset, rebuilt as Uint8Array<ArrayBuffer>);
    } finally {
      lease.release();
    }
  }
}

/** The range of k shards other than the range's own, by index. */
async function readSources(
  reader: ShardReader,
  { chunk, index, offset, length }: ShardRange,
  options: RebuildOptions,
): Promise<Map<number, Uint8Array>> {
  const { dataShards } = chunk;
  const found = new Map<number, Uint8Array>();
  const tried = new Set<string>();
  while (found.size < dataShards) {
    const wanted: number[] = [];
    for (const source of reader.sources(chunk, index)) {
      if (found.has(source) || tried.has(nameOf(reader, chunk, source))) continue;
      if (options.accept !== undefined && !(await options.accept(source))) continue;
      wanted.push(source);
      if (found.size + wanted.length === dataShards) break;
    }
    if (found.size + wanted.length < dataShards) {
      const before = reader.current(chunk);
      if ((await reader.refresh(chunk)) !== undefined && reader.current(chunk) !== before) continue;
      throw reader.lossOf(chunk);
    }
    for (const source of wanted) tried.add(nameOf(reader, chunk, source));
    const read = await Promise.allSettled(
      wanted.map((source) => reader.read(chunk, source, offset, length, new Uint8Array(length))),
    );
    wanted.forEach((source, i) => {
      const result = read[i] as (typeof read)[number];
      if (result.status === "rejected") throw result.reason;
      if (result.value !== undefined) found.set(source, result.value);
    });
  }
  return found;
}

/** Tells copies apart: a shard that was moved while we looked is worth another try. */
function nameOf(reader: ShardReader, chunk: ChunkLocation, index: number): string {
  return `${index}.${reader.current(chunk).shards[index]?.generation}`;
}

export function* steps(
  { offset, length }: { readonly offset: number; readonly length: number },
  stepBytes: number,
): Generator<{ offset: number; length: number }, void, void> {
  for (let done = 0; done < length; done += stepBytes) {
    yield { offset: offset + done, length: Math.min(stepBytes, length - done) };
  }
}
