import { equalBytes } from "../core/bytes.ts";
import { shardRanges } from "../core/erasure/geometry.ts";
import type { ChunkLocation, LocatedObject } from "../core/erasure/location.ts";
import { DataStreamError } from "../core/errors.ts";
import { OBJECT_WHOLE_READ_BYTES } from "../core/limits.ts";
import type { BudgetLease } from "./byte-budget.ts";
import { openItemWindow } from "./item-window.ts";
import { RangeMemory } from "./range-memory.ts";
import { type ReadDeps, ShardReader } from "./shard-reader.ts";
import { readVerifiedShard } from "./verified-shard.ts";

export interface ByteRange {
  readonly offset: number;
  /** Above 0; the range lies within the object. */
  readonly length: number;
}

/** Shards that are read before the consumer asks for them, where memory is free. */
const SHARDS_AHEAD = 2;

/**
 * The bytes of an object, or a range of them, as the consumer pulls them. Missing and lying shards are healed
 * on the way and reported; the stream fails with `data_loss` where that is impossible.
 *
 * What is guaranteed: an object of up to `OBJECT_WHOLE_READ_BYTES` is read whole and checked against its content
 * hash before its first byte leaves. A larger one is read by whole shards, each checked against its own hash
 * before it leaves; read from end to end, its content hash is checked as well, before the stream closes. A range of
 * a large object is NOT checked against the object's content hash, and reads up to a shard more on either side.
 */
export function readObject(
  deps: ReadDeps,
  object: LocatedObject,
  range?: ByteRange,
  options: { readonly signal?: AbortSignal } = {},
): ReadableStream<Uint8Array> {
  const stop = new AbortController();
  const onAbort = (): void => stop.abort();
  if (options.signal?.aborted === true) stop.abort();
  else options.signal?.addEventListener("abort", onAbort, { once: true });

  const pieces =
    object.size <= OBJECT_WHOLE_READ_BYTES
      ? readWhole(deps, object, range, stop.signal)
      : readByShards(deps, object, range, stop.signal);
  const end = async (): Promise<void> => {
    options.signal?.removeEventListener("abort", onAbort);
    stop.abort();
    await pieces.return();
  };
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        try {
          const { done, value } = await pieces.next();
          if (!done) return controller.enqueue(value);
          await end();
          controller.close();
        } catch (error) {
          await end();
          controller.error(error);
        }
      },
      cancel: end,
    },
    // Nothing is read before it is asked for, but for what `readByShards` reads ahead within the budget.
    { highWaterMark: 0 },
  );
}

type Pieces = AsyncGenerator<Uint8Array, void, void>;

async function* readWhole(
  deps: ReadDeps,
  object: LocatedObject,
  range: ByteRange | undefined,
  signal: AbortSignal,
): Pieces {
  const lease = await deps.budget.acquire(object.size, { signal });
  const window = openItemWindow(deps, [{ ...object, index: 0 }], { signal, readAheadBytes: object.size });
  try {
    const bytes = new Uint8Array(object.size);
    await window.fill(0, [bytes]);
    const { offset, length } = range ?? { offset: 0, length: object.size };
    if (length > 0) yield bytes.subarray(offset, offset + length);
  } finally {
    window.close();
    lease.release();
  }
}

/** The part of one shard that is asked for. */
interface Wanted {
  readonly chunk: ChunkLocation;
  readonly index: number;
  readonly offset: number;
  readonly length: number;
}

interface Loading {
  readonly lease: BudgetLease;
  readonly bytes: Promise<Uint8Array>;
}

async function* readByShards(
  deps: ReadDeps,
  object: LocatedObject,
  range: ByteRange | undefined,
  signal: AbortSignal,
): Pieces {
  const memory = new RangeMemory(deps.budget);
  const reader = new ShardReader(deps, signal);
  const wanted = wantedShards(object, range);
  const hasher = range === undefined ? deps.kernels.blake3.incremental() : undefined;
  const begin = (each: Wanted, lease: BudgetLease): Loading => {
    const destination = new Uint8Array(each.chunk.shardLength);
    const bytes = readVerifiedShard(reader, memory, each.chunk, each.index, destination, signal).then(() =>
      destination.subarray(each.offset, each.offset + each.length),
    );
    // Whoever awaits it learns of a failure; when nobody does any more, it must not count as unhandled.
    bytes.catch(() => undefined);
    return { lease, bytes };
  };
  const ahead: Loading[] = [];
  let next = 0;
  let hashed = false;
  try {
    while (next < wanted.length || ahead.length > 0) {
      if (ahead.length === 0) {
        const first = wanted[next++] as Wanted;
        ahead.push(begin(first, await deps.budget.acquire(first.chunk.shardLength, { signal })));
      }
      while (ahead.length <= SHARDS_AHEAD && next < wanted.length) {
        const each = wanted[next] as Wanted;
        const lease = deps.budget.tryAcquire(each.chunk.shardLength);
        if (lease === undefined) break;
        next++;
        ahead.push(begin(each, lease));
      }
      const current = ahead[0] as Loading;
      const bytes = await current.bytes;
      hasher?.update(bytes);
      yield bytes;
      // The consumer asks for more, so it is done with this.
      ahead.shift();
      current.lease.release();
    }
    hashed = true;
    if (hasher !== undefined && !equalBytes(hasher.digest(), object.contentHash)) {
      const chunks = [...new Set(wanted.map(({ chunk }) => chunk.id))];
      throw new DataStreamError(
        "data_loss",
        "The object's chunks are whole but do not add up to its content hash.",
        {
          details: { chunk: chunks.slice(0, 16).join(", "), nodes: [] },
        },
      );
    }
  } finally {
    if (!hashed) hasher?.dispose();
    // Reads still under way write to their memory until they settle.
    for (const { lease, bytes } of ahead)
      void bytes.then(
        () => lease.release(),
        () => lease.release(),
      );
  }
}

function wantedShards(
  object: LocatedObject,
  range: ByteRange = { offset: 0, length: object.size },
): Wanted[] {
  const wanted: Wanted[] = [];
  const end = range.offset + range.length;
  for (const { chunk, chunkOffset, objectOffset, length } of object.extents) {
    const from = Math.max(objectOffset, range.offset);
    const to = Math.min(objectOffset + length, end);
    if (from >= to) continue;
    const start = chunkOffset + from - objectOffset;
    for (const part of shardRanges(start, to - from, chunk.shardLength)) {
      wanted.push({ chunk, index: part.shardIndex, offset: part.offset, length: part.length });
    }
  }
  return wanted;
}
