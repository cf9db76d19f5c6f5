/**
 * Order v1: which item stands at which position of an epoch, as a pure function of the dataset's content hash,
 * seed, epoch and parameters. The byte-exact definition is docs/formats/order-v1.md.
 */
import { sha256 } from "@noble/hashes/sha2.js";
import { viewOf, writeU64 } from "../bytes.ts";
import { invalidArgument } from "../errors.ts";
import { DATASET_MAX_FILES } from "../limits.ts";
import { utf8 } from "../text.ts";
import { checkBlockShape, type BlockShape } from "./block-shape.ts";
import { Permutation, ROUNDS } from "./permutation.ts";

export type OrderMode = "sequential" | "full" | "block";

export interface OrderOptions {
  readonly mode: OrderMode;
  /** Items to order: the dataset's files, or the length of a filter's view. 0 to 2^32. */
  readonly count: number;
  /** The dataset's content hash, 32 bytes. */
  readonly contentHash: Uint8Array;
  /** Any 64-bit integer; signed and unsigned spellings of the same 64 bits are one seed. */
  readonly seed: bigint;
  /** 0, 1, 2… */
  readonly epoch: number;
  /** Needed when the mode is "block", otherwise ignored. */
  readonly block?: BlockShape;
  /**
   * A filter's view: strictly ascending item indices, `count` of them. Positions then name entries of the view,
   * and blocks are runs of the view.
   */
  readonly view?: Uint32Array;
}

/** A run of consecutive items (or entries of the view) that a block shuffle keeps together. */
export interface ItemBlock {
  /** Position lane: positions p with p mod lanes = lane draw from this block. −1 in the tail, which has no lanes. */
  readonly lane: number;
  /** First item; an entry of the view where there is a view. */
  readonly first: number;
  readonly count: number;
}

/** Consecutive positions that draw from the same open blocks. */
export interface OrderWindow {
  /** First position. */
  readonly start: number;
  /** Position after the last. */
  readonly end: number;
}

export interface Order {
  readonly count: number;
  /**
   * Index of the item in the dataset. O(1), and O(lanes) memory for the keys of open groups.
   * @throws RangeError for a position outside 0…count−1.
   */
  itemAt(position: number): number;
  /**
   * The widest run of positions around `position` that share open blocks, or undefined for an order without
   * blocks. A reader that holds the blocks of a window reads every byte of the dataset once.
   */
  windowAt(position: number): OrderWindow | undefined;
  /**
   * The blocks of the window around `position`, in no particular order; undefined for an order without blocks.
   * A rank whose world size divides the lanes needs only those with lane ≡ its first position (mod world size).
   */
  blocksAt(position: number): readonly ItemBlock[] | undefined;
}

const TAG = utf8("cyxcloud/order/1");
const MODE_CODES: Record<OrderMode, number> = { sequential: 0, full: 1, block: 2 };
const PURPOSE_ITEMS = 0;
const PURPOSE_BLOCKS = 1;
const PURPOSE_GROUP = 2;
const PURPOSE_TAIL = 3;

/**
 * @throws `invalid_argument` naming `shuffle`, `epoch`, `count` or a field of the block shape.
 */
export function createOrder(options: OrderOptions): Order {
  const { mode, count, epoch, view, contentHash } = options;
  if (!Object.hasOwn(MODE_CODES, mode))
    throw invalidArgument("shuffle", `must be one of sequential, full and block, not ${mode}.`);
  if (!Number.isSafeInteger(count) || count < 0 || count > DATASET_MAX_FILES)
    throw invalidArgument("count", `an order has 0 to ${DATASET_MAX_FILES} items, not ${count}.`, {
      limit: DATASET_MAX_FILES,
    });
  if (!Number.isSafeInteger(epoch) || epoch < 0)
    throw invalidArgument("epoch", `must be a non-negative integer, not ${epoch}.`);
  if (contentHash.length !== 32) throw invalidArgument("content_hash", "must have 32 bytes.");
  if (view !== undefined && view.length !== count)
    throw invalidArgument("count", `is ${count}, but the view has ${view.length} items.`);

  const base =
    mode === "sequential" || count === 0
      ? sequential(count)
      : mode === "full"
        ? full(options)
        : new BlockOrder(options, requireBlock(options));
  const locate =
    view === undefined ? base : { itemAt: (p: number): number => view[base.itemAt(p)] as number };
  return {
    count,
    itemAt(position) {
      checkPosition(position, count);
      return locate.itemAt(position);
    },
    windowAt(position) {
      checkPosition(position, count);
      return base.windowAt(position);
    },
    blocksAt(position) {
      checkPosition(position, count);
      return base.blocksAt(position);
    },
  };
}

function checkPosition(position: number, count: number): void {
  if (!Number.isInteger(position) || position < 0 || position >= count)
    throw new RangeError(`The order has ${count} positions; there is no position ${position}.`);
}

function requireBlock(options: OrderOptions): BlockShape {
  if (options.block === undefined) throw invalidArgument("block_size", "a block shuffle needs a block size.");
  checkBlockShape(options.block);
  return options.block;
}

function noBlocks(): undefined {
  return undefined;
}

function sequential(count: number): Order {
  return { count, itemAt: (position) => position, windowAt: noBlocks, blocksAt: noBlocks };
}

function full(options: OrderOptions): Order {
  const permutation = keyed(options, undefined, PURPOSE_ITEMS, 0, options.count);
  return {
    count: options.count,
    itemAt: (position) => permutation.at(position),
    windowAt: noBlocks,
    blocksAt: noBlocks,
  };
}

/** A permutation of 0…size−1 under the round keys for this purpose. The layout is in docs/formats/order-v1.md. */
function keyed(
  options: OrderOptions,
  block: BlockShape | undefined,
  purpose: number,
  index: number,
  size: number,
): Permutation {
  // One point has one permutation, whatever the keys: groups of one block of one item are common.
  if (size === 1) return new Permutation(size, new Int32Array(ROUNDS));
  const input = new Uint8Array(100);
  const view = viewOf(input);
  input.set(TAG, 0);
  input.set(options.contentHash, 16);
  view.setBigUint64(48, BigInt.asUintN(64, options.seed), true);
  writeU64(view, 56, options.epoch);
  view.setUint32(64, MODE_CODES[options.mode], true);
  view.setUint32(68, purpose, true);
  writeU64(view, 72, options.count);
  view.setUint32(80, block?.blockSize ?? 0, true);
  view.setUint32(84, block?.lanes ?? 0, true);
  view.setUint32(88, block?.blocksPerGroup ?? 0, true);
  writeU64(view, 92, index);
  const digest = viewOf(sha256(input));
  return new Permutation(
    size,
    Int32Array.from({ length: ROUNDS }, (_, round) => digest.getInt32(4 * round, true)),
  );
}

class BlockOrder implements Order {
  readonly count: number;
  readonly #options: OrderOptions;
  readonly #shape: BlockShape;
  /** Blocks that are whole, of `blockSize` items. */
  readonly #fullBlocks: number;
  /** Blocks that lie in groups; the other whole blocks and the rest are the tail. */
  readonly #groupedBlocks: number;
  readonly #groupedItems: number;
  readonly #groupItems: number;
  readonly #blocks: Permutation | undefined;
  readonly #tail: Permutation | undefined;
  /** The open group of each lane: its number and permutation. */
  readonly #open: { group: number; permutation: Permutation }[] = [];

  constructor(options: OrderOptions, shape: BlockShape) {
    const { blockSize, lanes, blocksPerGroup } = shape;
    this.count = options.count;
    this.#options = options;
    this.#shape = shape;
    this.#fullBlocks = Math.floor(this.count / blockSize);
    this.#groupedBlocks = this.#fullBlocks - (this.#fullBlocks % (lanes * blocksPerGroup));
    this.#groupedItems = this.#groupedBlocks * blockSize;
    this.#groupItems = blocksPerGroup * blockSize;
    if (this.#fullBlocks > 0) this.#blocks = keyed(options, shape, PURPOSE_BLOCKS, 0, this.#fullBlocks);
    const tailItems = this.count - this.#groupedItems;
    if (tailItems > 0) this.#tail = keyed(options, shape, PURPOSE_TAIL, 0, tailItems);
  }

  itemAt(position: number): number {
    const { blockSize, lanes, blocksPerGroup } = this.#shape;
    if (position >= this.#groupedItems) return this.#tailItem(position - this.#groupedItems);
    const lane = position % lanes;
    const inLane = Math.floor(position / lanes);
    const group = Math.floor(inLane / this.#groupItems);
    const shuffled = this.#group(lane, group).at(inLane % this.#groupItems);
    const slot = Math.floor(shuffled / blockSize);
    const block = this.#blockAt((group * blocksPerGroup + slot) * lanes + lane);
    return block * blockSize + (shuffled % blockSize);
  }

  windowAt(position: number): OrderWindow {
    if (position >= this.#groupedItems) return { start: this.#groupedItems, end: this.count };
    const length = this.#groupItems * this.#shape.lanes;
    const start = position - (position % length);
    return { start, end: start + length };
  }

  blocksAt(position: number): readonly ItemBlock[] {
    const { blockSize, lanes, blocksPerGroup } = this.#shape;
    const inTail = position >= this.#groupedItems;
    const perWindow = lanes * blocksPerGroup;
    const first = inTail ? this.#groupedBlocks : Math.floor(position / (perWindow * blockSize)) * perWindow;
    const end = inTail ? this.#fullBlocks : first + perWindow;
    const blocks: ItemBlock[] = [];
    for (let dealt = first; dealt < end; dealt++)
      blocks.push({
        lane: inTail ? -1 : dealt % lanes,
        first: this.#blockAt(dealt) * blockSize,
        count: blockSize,
      });
    const rest = this.count - this.#fullBlocks * blockSize;
    if (inTail && rest > 0) blocks.push({ lane: -1, first: this.count - rest, count: rest });
    return blocks;
  }

  #tailItem(position: number): number {
    const { blockSize } = this.#shape;
    const shuffled = (this.#tail as Permutation).at(position);
    const tailBlocks = this.#fullBlocks - this.#groupedBlocks;
    const dealt = Math.floor(shuffled / blockSize);
    if (dealt >= tailBlocks) return this.#groupedItems + shuffled;
    return this.#blockAt(this.#groupedBlocks + dealt) * blockSize + (shuffled % blockSize);
  }

  /** The block that is dealt as number `dealt`. */
  #blockAt(dealt: number): number {
    return (this.#blocks as Permutation).at(dealt);
  }

  #group(lane: number, group: number): Permutation {
    const open = this.#open[lane];
    if (open?.group === group) return open.permutation;
    const index = group * this.#shape.lanes + lane;
    const permutation = keyed(this.#options, this.#shape, PURPOSE_GROUP, index, this.#groupItems);
    this.#open[lane] = { group, permutation };
    return permutation;
  }
}
