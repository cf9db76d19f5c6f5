import type { DatasetFilter } from "../../core/dataset/filter.ts";
import { invalidArgument } from "../../core/errors.ts";
import { checkBlockBudget, defaultBlockShape, type BlockShape } from "../../core/stream/block-shape.ts";
import type { TailPolicy } from "../../core/stream/batches.ts";
import { createOrder, type Order, type OrderMode } from "../../core/stream/order.ts";
import type { BatchHashMode, StreamParameters } from "../../core/stream/parameters.ts";
import { viewHash } from "../../core/dataset/filter.ts";
import type { Blake3 } from "../../core/ports.ts";
import type { RetryPolicy } from "../backoff.ts";
import type { StreamPosition } from "./batch.ts";
import type { ItemChecker } from "./checker.ts";
import type { VerifiedDataset } from "./dataset.ts";
import type { BatchSource } from "./source.ts";

const HASH_BYTES = 32;

export interface StreamOptions {
  /** UUID, `name`, `owner/name`, `name@version`, or `name@blake3:HEX`, which pins the content. */
  readonly dataset: string;
  /** Hexadecimal BLAKE3 of the schema's canonical JSON, known from outside the gateway. */
  readonly schemaHash?: string;
  /** Items of a batch, per rank. */
  readonly batchSize: number;
  /** Default: the client's access token; with an API key alone, a token is created for the stream. */
  readonly accessToken?: string;
  /** First epoch to stream, default 0 or the position's. */
  readonly epoch?: number;
  /** How many epochs to stream one after the other, default 1. */
  readonly epochs?: number;
  readonly rank?: number;
  readonly worldSize?: number;
  /** false: manifest order · true or "full": any item anywhere · "block": shuffles blocks, reads neighbours together. */
  readonly shuffle?: boolean | "full" | "block";
  readonly seed?: bigint | number;
  /** Block shuffle only; left out: about 1 MiB a block, 16 lanes, fewer where the budget asks. */
  readonly block?: Partial<BlockShape>;
  readonly tail?: TailPolicy;
  readonly filter?: DatasetFilter;
  /** Position in the first epoch's order at which to begin, default 0. */
  readonly startIndex?: number;
  /** A consumer's checkpoint; wins over `epoch` and `startIndex`, and may go back. */
  readonly position?: StreamPosition;
  /** Shared by the ranks of a run. Without `position`, a known id continues after its last acknowledged batch. */
  readonly streamId?: string;
  /** Highest acceptable trust level, default 0: one's own data alone. */
  readonly maxTrustLevel?: number;
  /** Batches received and verified ahead of the consumer, default 2. */
  readonly prefetchBatches?: number;
  readonly batchHash?: BatchHashMode;
  /** "auto" acknowledges a batch when the next one is asked for. */
  readonly acknowledge?: "auto" | "manual";
  readonly retry?: RetryPolicy;
  /** 32 bytes that name what is done with the items, so that they become part of the stream's parameters. */
  readonly processingHash?: Uint8Array;
  /** Where the messages come from; default: the gateway, through fetch. */
  readonly source?: BatchSource;
  /** Checks the items' bytes in place of this thread. Needs batch hash "framed". */
  readonly checkItems?: ItemChecker;
  /** Batches that `checkItems` may have in hand at once, default 1: while some are checked, the next is received. */
  readonly concurrentChecks?: number;
  /** How often a batch is asked for again whose items do not fit their hashes, default 2. */
  readonly refetches?: number;
  readonly signal?: AbortSignal;
}

/** The parameters that fix the stream, filled in with the same defaults as the gateway's. */
export function streamParameters(
  options: StreamOptions,
  dataset: VerifiedDataset,
  blake3: Blake3,
): StreamPlan {
  const mode: OrderMode =
    options.shuffle === undefined || options.shuffle === false
      ? "sequential"
      : options.shuffle === true
        ? "full"
        : options.shuffle;
  const filter = sentFilter(options.filter);
  const view = filter === undefined ? undefined : dataset.view(filter);
  if (view?.length === 0) throw invalidArgument("filter", "matches no file of the dataset.");
  const meanItemBytes = dataset.totalSize / dataset.count;
  const block = mode === "block" ? defaultBlockShape(meanItemBytes, options.block) : undefined;
  if (block !== undefined) checkBlockBudget(block, meanItemBytes);
  const parameters: StreamParameters = {
    datasetId: dataset.info.id,
    contentHash: dataset.contentHash,
    schemaHash: dataset.schemaHash,
    mode,
    seed: seedOf(options.seed ?? 0),
    block,
    batchSize: options.batchSize,
    tail: options.tail ?? "short",
    filter,
    viewHash: view === undefined ? undefined : viewHash(view, blake3),
    batchHash: options.batchHash ?? "framed",
    processingHash: checkedHash(options.processingHash),
  };
  return {
    parameters,
    count: view?.length ?? dataset.count,
    orderOf: (epoch) => order(parameters, dataset, view, epoch),
  };
}

/** @throws `invalid_argument` */
function checkedHash(hash: Uint8Array | undefined): Uint8Array | undefined {
  if (hash === undefined || hash.length === HASH_BYTES) return hash;
  throw invalidArgument("processingHash", `must have ${HASH_BYTES} bytes, not ${hash.length}.`, {
    limit: HASH_BYTES,
  });
}

/** @throws `invalid_argument` for what is no integer of 64 bits, or was rounded before it came here. */
function seedOf(seed: bigint | number): bigint {
  const isExact = typeof seed === "bigint" || Number.isSafeInteger(seed);
  if (isExact && BigInt(seed) >= -(2n ** 63n) && BigInt(seed) < 2n ** 64n) return BigInt(seed);
  throw invalidArgument(
    "seed",
    `must be a whole number of 64 bits, not ${seed}; use a bigint where it is large.`,
  );
}

/** The filter as the wire can say it: an empty prefix or list of globs is none there, and means nothing. */
function sentFilter(filter: DatasetFilter | undefined): DatasetFilter | undefined {
  const prefix = filter?.prefix === "" ? undefined : filter?.prefix;
  const globs = filter?.globs?.length === 0 ? undefined : filter?.globs;
  if (prefix === undefined && globs === undefined) return undefined;
  return { ...(prefix !== undefined && { prefix }), ...(globs !== undefined && { globs }) };
}

export interface StreamPlan {
  readonly parameters: StreamParameters;
  /** Positions of an epoch. */
  readonly count: number;
  orderOf(epoch: number): Order;
}

function order(
  parameters: StreamParameters,
  dataset: VerifiedDataset,
  view: Uint32Array | undefined,
  epoch: number,
): Order {
  return createOrder({
    mode: parameters.mode,
    count: view?.length ?? dataset.count,
    contentHash: parameters.contentHash,
    seed: parameters.seed,
    epoch,
    ...(parameters.block === undefined ? {} : { block: parameters.block }),
    ...(view === undefined ? {} : { view }),
  });
}
