import { beginOf } from "../../client/stream/begin.ts";
import { streamParameters, type StreamOptions } from "../../client/stream/options.ts";
import type { StreamContext } from "../../client/stream/run.ts";
import { totalBatches, type BatchPlan } from "../../core/stream/batches.ts";
import { toHex } from "../../core/bytes.ts";
import type { OutputFormat } from "../decode/output-format.ts";
import type {
  DatasetDescription,
  FormatDescription,
  StreamDescription,
  StreamRequest,
} from "../handoff/messages.ts";

/** A handoff's request in the client's words. */
export function streamOptionsOf(request: StreamRequest): StreamOptions {
  const { filter, block, seed } = request;
  return defined({
    dataset: request.dataset,
    accessToken: request.access_token,
    batchSize: request.batch_size,
    schemaHash: request.schema_hash,
    streamId: request.stream_id,
    epoch: request.epoch,
    epochs: request.epochs,
    rank: request.rank,
    worldSize: request.world_size,
    shuffle: request.shuffle,
    seed: seed === undefined ? undefined : BigInt(seed),
    block:
      block &&
      defined({ blockSize: block.block_size, lanes: block.lanes, blocksPerGroup: block.blocks_per_group }),
    tail: request.tail,
    filter: filter && defined({ prefix: filter.prefix, globs: filter.globs }),
    position: request.position,
    maxTrustLevel: request.max_trust_level,
    prefetchBatches: request.prefetch_batches,
  });
}

type Defined<T> = { [K in keyof T as undefined extends T[K] ? never : K]: T[K] } & {
  [K in keyof T as undefined extends T[K] ? K : never]?: Exclude<T[K], undefined>;
};

/** Without the members that are undefined, which is not the same as absent. */
function defined<T extends object>(values: T): Defined<T> {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as Defined<T>;
}

/**
 * What a stream of these options is, before anything of it was sent; its format is for others to say.
 * @throws `invalid_argument` for options that do not fit the dataset.
 */
export function describeStream(
  { dataset, blake3 }: StreamContext,
  options: StreamOptions,
): StreamDescription {
  const { parameters, count } = streamParameters(options, dataset, blake3);
  const { rank = 0, worldSize = 1, batchSize } = options;
  const { startIndex, batchIndex = 0 } = beginOf(options, worldSize);
  const planFrom = (start: number): BatchPlan => ({
    count,
    batchSize,
    worldSize,
    rank,
    start,
    tail: parameters.tail,
  });
  const description: DatasetDescription = {
    id: dataset.info.id,
    name: dataset.info.name,
    version: dataset.info.version,
    content_hash: toHex(dataset.contentHash),
    schema: dataset.schema,
    schema_hash: toHex(dataset.schemaHash),
    count: dataset.count,
    total_bytes: dataset.totalSize,
    pinned: dataset.pinned,
    trust_level: dataset.info.trust_level,
  };
  return {
    dataset: description,
    count,
    total_batches: Math.max(0, totalBatches(planFrom(startIndex)) - batchIndex),
    batches_per_epoch: totalBatches(planFrom(0)),
    format: null,
  };
}

export function describeFormat({ kind, dtype, shape, layout }: OutputFormat): FormatDescription {
  return { kind, dtype, shape, layout };
}
