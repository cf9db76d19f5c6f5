/** The shape of a block shuffle: how far it mixes, and how many bytes that keeps open. */
import { invalidArgument } from "../errors.ts";
import {
  BLOCK_MAX_ITEMS,
  BLOCK_SHUFFLE_BUDGET_BYTES,
  BLOCK_TARGET_BYTES,
  BLOCKS_PER_GROUP_DEFAULT,
  BLOCKS_PER_GROUP_MAX,
  LANES_DEFAULT,
  LANES_MAX,
} from "../limits.ts";

export interface BlockShape {
  /** B: consecutive items of a block. */
  readonly blockSize: number;
  /** L: blocks are dealt to so many lanes; position p belongs to lane p mod L. */
  readonly lanes: number;
  /** W: blocks of a lane that are shuffled together. */
  readonly blocksPerGroup: number;
}

/** Items of a block of about 1 MiB. */
export function defaultBlockSize(meanItemBytes: number): number {
  const items = Math.round(BLOCK_TARGET_BYTES / Math.max(1, meanItemBytes));
  return Math.min(BLOCK_MAX_ITEMS, Math.max(1, items));
}

/** Fills in what the caller left open; first fewer blocks in a group, then fewer lanes, until the budget holds. */
export function defaultBlockShape(
  meanItemBytes: number,
  given: { readonly [K in keyof BlockShape]?: BlockShape[K] | undefined } = {},
): BlockShape {
  const blockSize = given.blockSize ?? defaultBlockSize(meanItemBytes);
  let blocksPerGroup = given.blocksPerGroup ?? BLOCKS_PER_GROUP_DEFAULT;
  let lanes = given.lanes ?? LANES_DEFAULT;
  const over = (): boolean =>
    openBytes({ blockSize, lanes, blocksPerGroup }, meanItemBytes) > BLOCK_SHUFFLE_BUDGET_BYTES;
  while (given.blocksPerGroup === undefined && blocksPerGroup > 1 && over()) blocksPerGroup >>= 1;
  while (given.lanes === undefined && lanes > 1 && over()) lanes >>= 1;
  return { blockSize, lanes, blocksPerGroup };
}

/** Bytes of the blocks that are open at once, by the mean size of an item. */
export function openBytes(shape: BlockShape, meanItemBytes: number): number {
  return shape.lanes * shape.blocksPerGroup * shape.blockSize * meanItemBytes;
}

/** @throws `invalid_argument` naming the field and its limit. */
export function checkBlockShape(shape: BlockShape): void {
  checkRange("block_size", shape.blockSize, BLOCK_MAX_ITEMS);
  checkRange("lanes", shape.lanes, LANES_MAX);
  checkRange("blocks_per_group", shape.blocksPerGroup, BLOCKS_PER_GROUP_MAX);
}

/**
 * @throws `invalid_argument` when the open blocks of this shape exceed the read budget. The mean item size
 * stands for the items: a run of larger ones may need more. A single open item is always allowed.
 */
export function checkBlockBudget(shape: BlockShape, meanItemBytes: number): void {
  checkBlockShape(shape);
  const bytes = Math.ceil(openBytes(shape, meanItemBytes));
  const items = shape.lanes * shape.blocksPerGroup * shape.blockSize;
  if (bytes <= BLOCK_SHUFFLE_BUDGET_BYTES || items === 1) return;
  throw invalidArgument(
    "block_size",
    `lanes ${shape.lanes} × blocks_per_group ${shape.blocksPerGroup} × block_size ${shape.blockSize} keep about ` +
      `${bytes} bytes open, and ${BLOCK_SHUFFLE_BUDGET_BYTES} are allowed. Lower one of the three.`,
    { bytes, limit: BLOCK_SHUFFLE_BUDGET_BYTES },
  );
}

function checkRange(field: string, value: number, limit: number): void {
  if (Number.isInteger(value) && value >= 1 && value <= limit) return;
  throw invalidArgument(field, `must be a whole number from 1 to ${limit}, not ${value}.`, { limit });
}
