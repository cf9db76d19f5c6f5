/**
 * Which ranges of which shards to read for a window of items. Pure: the gateway, and later a client that reads
 * shards itself, plan alike.
 */
import { shardRanges } from "../erasure/geometry.ts";
import { READ_MERGE_GAP_BYTES, READ_TARGET_BYTES } from "../limits.ts";

/** The part of a chunk's location that the plan needs. */
export interface PlanChunk {
  readonly id: string;
  /** Bytes of each shard. */
  readonly shardLength: number;
}

export interface PlanExtent<Chunk extends PlanChunk = PlanChunk> {
  readonly chunk: Chunk;
  readonly chunkOffset: number;
  readonly objectOffset: number;
  readonly length: number;
}

export interface PlanItem<Chunk extends PlanChunk = PlanChunk> {
  readonly extents: readonly PlanExtent<Chunk>[];
}

/** One range of one data shard, read at once. */
export interface PlannedRead<Chunk extends PlanChunk = PlanChunk> {
  readonly chunk: Chunk;
  readonly shardIndex: number;
  /** From the start of the shard. */
  readonly offset: number;
  readonly length: number;
}

/** Bytes of an item that one read brings. */
export interface ItemPiece {
  /** Number of the read in the plan. */
  readonly read: number;
  /** From the start of the read's bytes. */
  readonly readOffset: number;
  /** From the start of the item. */
  readonly itemOffset: number;
  readonly length: number;
}

export interface ReadPlan<Chunk extends PlanChunk = PlanChunk> {
  /** In the order in which the items first need them. */
  readonly reads: readonly PlannedRead<Chunk>[];
  /** For each item its pieces, by ascending item offset; none for an item of 0 bytes. */
  readonly pieces: readonly (readonly ItemPiece[])[];
}

export interface ReadPlanOptions {
  /** Neighbours in a shard with at most so many unneeded bytes between them are read together. Default 64 KiB. */
  readonly mergeGapBytes?: number;
  /** Reads grow by merging until they reach this; longer ranges are cut into parts of about this size. Default 1 MiB. */
  readonly targetBytes?: number;
}

/** A read may be longer than the target by half of it: as much as rounding the parts of a long range leaves. */
const MOST_TARGETS = 1.5;

/** A range of one shard that an item needs. */
interface Need<Chunk extends PlanChunk> {
  readonly chunk: Chunk;
  readonly shardIndex: number;
  readonly offset: number;
  readonly length: number;
  readonly item: number;
  readonly itemOffset: number;
}

interface Run<Chunk extends PlanChunk> {
  readonly first: Need<Chunk>;
  readonly start: number;
  end: number;
  /** Place of the run's earliest need in item order. */
  order: number;
}

/**
 * Plans the reads for `items` together: an item that comes twice, or items that share bytes, are read once. A read
 * is at most one and a half times the target long. Unneeded bytes are read only in the gaps between merged ranges.
 */
export function planReads<Chunk extends PlanChunk>(
  items: readonly PlanItem<Chunk>[],
  options: ReadPlanOptions = {},
): ReadPlan<Chunk> {
  const gap = options.mergeGapBytes ?? READ_MERGE_GAP_BYTES;
  const target = options.targetBytes ?? READ_TARGET_BYTES;
  const needs = collectNeeds(items, target);

  const byPlace = needs.map((_, i) => i);
  const chunkOrder = new Map<string, number>();
  for (const need of needs)
    if (!chunkOrder.has(need.chunk.id)) chunkOrder.set(need.chunk.id, chunkOrder.size);
  byPlace.sort((i, j) => {
    const a = needs[i] as Need<Chunk>;
    const b = needs[j] as Need<Chunk>;
    return (
      (chunkOrder.get(a.chunk.id) as number) - (chunkOrder.get(b.chunk.id) as number) ||
      a.shardIndex - b.shardIndex ||
      a.offset - b.offset
    );
  });

  const runs: Run<Chunk>[] = [];
  const runOf = new Array<Run<Chunk>>(needs.length);
  let run: Run<Chunk> | undefined;
  for (const i of byPlace) {
    const need = needs[i] as Need<Chunk>;
    const end = need.offset + need.length;
    if (run !== undefined && joins(run, need, end, gap, target)) {
      run.end = Math.max(run.end, end);
      run.order = Math.min(run.order, i);
    } else {
      run = { first: need, start: need.offset, end, order: i };
      runs.push(run);
    }
    runOf[i] = run;
  }
  runs.sort((a, b) => a.order - b.order);

  const numberOf = new Map(runs.map((each, number) => [each, number]));
  const pieces: ItemPiece[][] = items.map(() => []);
  needs.forEach((need, i) => {
    const chosen = runOf[i] as Run<Chunk>;
    (pieces[need.item] as ItemPiece[]).push({
      read: numberOf.get(chosen) as number,
      readOffset: need.offset - chosen.start,
      itemOffset: need.itemOffset,
      length: need.length,
    });
  });
  const reads = runs.map(({ first, start, end }) => ({
    chunk: first.chunk,
    shardIndex: first.shardIndex,
    offset: start,
    length: end - start,
  }));
  return { reads, pieces };
}

function joins<Chunk extends PlanChunk>(
  run: Run<Chunk>,
  need: Need<Chunk>,
  end: number,
  gap: number,
  target: number,
): boolean {
  if (need.chunk.id !== run.first.chunk.id || need.shardIndex !== run.first.shardIndex) return false;
  if (end <= run.end) return true;
  return (
    need.offset - run.end <= gap && run.end - run.start < target && end - run.start <= MOST_TARGETS * target
  );
}

/** Every item's shard ranges in item order, long ones cut into equal parts. */
function collectNeeds<Chunk extends PlanChunk>(
  items: readonly PlanItem<Chunk>[],
  target: number,
): Need<Chunk>[] {
  const needs: Need<Chunk>[] = [];
  items.forEach(({ extents }, item) => {
    for (const { chunk, chunkOffset, objectOffset, length } of extents) {
      let itemOffset = objectOffset;
      for (const range of shardRanges(chunkOffset, length, chunk.shardLength)) {
        const parts = Math.max(1, Math.round(range.length / target));
        const partLength = Math.ceil(range.length / parts);
        for (let done = 0; done < range.length; done += partLength) {
          const part = Math.min(partLength, range.length - done);
          needs.push({
            chunk,
            shardIndex: range.shardIndex,
            offset: range.offset + done,
            length: part,
            item,
            itemOffset: itemOffset + done,
          });
        }
        itemOffset += range.length;
      }
    }
  });
  return needs;
}
