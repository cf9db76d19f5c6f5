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
  /** Place among the needs in item order. */
  readonly order: number;
  /** Place of the chunk among the chunks in the order of first need. */
  readonly chunkOrder: number;
  run: Run<Chunk> | undefined;
}

/** Neighbouring needs that become one read. */
interface Run<Chunk extends PlanChunk> {
  /** The need with the least offset. */
  readonly first: Need<Chunk>;
  end: number;
  /** That of the earliest need. */
  order: number;
  /** Number of the read. */
  number: number;
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

  const byPlace = needs.toSorted(
    (a, b) => a.chunkOrder - b.chunkOrder || a.shardIndex - b.shardIndex || a.offset - b.offset,
  );
  const runs: Run<Chunk>[] = [];
  let run: Run<Chunk> | undefined;
  for (const need of byPlace) {
    const end = need.offset + need.length;
    if (run !== undefined && joins(run, need, end, gap, target)) {
      run.end = Math.max(run.end, end);
      run.order = Math.min(run.order, need.order);
    } else {
      run = { first: need, end, order: need.order, number: 0 };
      runs.push(run);
    }
    need.run = run;
  }
  runs.sort((a, b) => a.order - b.order);
  runs.forEach((each, number) => {
    each.number = number;
  });

  const pieces: ItemPiece[][] = items.map(() => []);
  for (const need of needs) {
    const { first, number } = need.run as Run<Chunk>;
    (pieces[need.item] as ItemPiece[]).push({
      read: number,
      readOffset: need.offset - first.offset,
      itemOffset: need.itemOffset,
      length: need.length,
    });
  }
  const reads = runs.map(({ first, end }) => ({
    chunk: first.chunk,
    shardIndex: first.shardIndex,
    offset: first.offset,
    length: end - first.offset,
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
  const { first } = run;
  if (need.chunkOrder !== first.chunkOrder || need.shardIndex !== first.shardIndex) return false;
  if (end <= run.end) return true;
  const length = run.end - first.offset;
  return need.offset - run.end <= gap && length < target && end - first.offset <= MOST_TARGETS * target;
}

/** Every item's shard ranges in item order, long ones cut into equal parts. */
function collectNeeds<Chunk extends PlanChunk>(
  items: readonly PlanItem<Chunk>[],
  target: number,
): Need<Chunk>[] {
  const needs: Need<Chunk>[] = [];
  const chunkOrders = new Map<string, number>();
  items.forEach(({ extents }, item) => {
    for (const { chunk, chunkOffset, objectOffset, length } of extents) {
      let itemOffset = objectOffset;
      const chunkOrder = chunkOrders.get(chunk.id) ?? chunkOrders.size;
      chunkOrders.set(chunk.id, chunkOrder);
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
            order: needs.length,
            chunkOrder,
            run: undefined,
          });
        }
        itemOffset += range.length;
      }
    }
  });
  return needs;
}
