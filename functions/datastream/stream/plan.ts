/** From a request to everything that fixes the stream's content, checked against the dataset before the first byte. */
import { sumOfLargest } from "../../../catalog/views.ts";
import type { DatasetRow } from "../../../catalog/datasets.ts";
import { DataStreamError, invalidArgument } from "../../../core/errors.ts";
import { BATCH_MAX_BYTES, ITEM_MAX_BYTES } from "../../../core/limits.ts";
import type { Blake3, Sql } from "../../../core/ports.ts";
import { checkBatchPlan, checkStartIndex } from "../../../core/stream/batches.ts";
import { checkBlockBudget, defaultBlockShape } from "../../../core/stream/block-shape.ts";
import { createOrder, type Order } from "../../../core/stream/order.ts";
import type { StreamParameters } from "../../../core/stream/parameters.ts";
import type { StreamShape } from "../../../core/stream/session-records.ts";
import type { StreamRequest } from "./request.ts";
import type { HeldView, Views } from "./view.ts";

export interface StreamPlan {
  readonly parameters: StreamParameters;
  readonly order: Order;
  readonly shape: StreamShape;
  /** Mean bytes of an item of the dataset, filtered or not. */
  readonly meanItemBytes: number;
  /** Gives the filter's view back. */
  release(): void;
}

interface PlanDeps {
  readonly sql: Sql;
  readonly kernels: { readonly blake3: Blake3 };
  readonly views: Views;
}

/**
 * @throws `invalid_argument` naming the field and its limit.
 */
export async function planStream(
  deps: PlanDeps,
  dataset: DatasetRow,
  request: StreamRequest,
): Promise<StreamPlan> {
  const { batchSize, epoch, filter, mode, rank, seed, tail, worldSize } = request;
  const { contentHash, schemaHash, fileCount } = dataset;
  const meanItemBytes = dataset.totalSizeBytes / Math.max(1, fileCount);
  // Before the view is built, which is work: the whole dataset bounds it.
  checkBatchPlan({ count: fileCount, batchSize, worldSize, rank, start: 0, tail });
  const block = mode === "block" ? defaultBlockShape(meanItemBytes, request.block) : undefined;
  if (block !== undefined) checkBlockBudget(block, meanItemBytes);
  await checkSizes(deps.sql, dataset, batchSize);

  const view: HeldView | undefined =
    filter && (await deps.views.hold({ sql: deps.sql, blake3: deps.kernels.blake3 }, dataset.id, filter));
  try {
    const count = view?.positions.length ?? fileCount;
    checkStartIndex(request.startIndex, count);
    // Repetitions lie in one batch only where a global batch is longer than the epoch.
    const repeats = tail === "pad" && batchSize * worldSize > count;
    if (repeats) checkBatchBytes(dataset.maxItemBytes * batchSize, batchSize);
    const order = createOrder({
      mode,
      count,
      contentHash,
      seed,
      epoch,
      ...(block && { block }),
      ...(view && { view: view.positions }),
    });
    const parameters: StreamParameters = {
      datasetId: dataset.id,
      contentHash,
      schemaHash,
      mode,
      seed,
      block,
      batchSize,
      tail,
      filter,
      viewHash: view?.hash,
      batchHash: request.batchHash,
      processingHash: request.processingHash,
    };
    return {
      parameters,
      order,
      shape: { count, batchSize, tail },
      meanItemBytes,
      release: () => view?.release(),
    };
  } catch (error) {
    view?.release();
    throw error;
  }
}

/** No item and no batch may be too large, wherever the order puts them. */
async function checkSizes(sql: Sql, dataset: DatasetRow, batchSize: number): Promise<void> {
  if (dataset.maxItemBytes > ITEM_MAX_BYTES)
    throw invalidArgument(
      "dataset_id",
      `its largest item has ${dataset.maxItemBytes} bytes; items of at most ${ITEM_MAX_BYTES} can be streamed.`,
      { limit: ITEM_MAX_BYTES },
    );
  if (dataset.maxItemBytes * batchSize <= BATCH_MAX_BYTES) return;
  checkBatchBytes(await sumOfLargest(sql, dataset.id, batchSize), batchSize);
}

/** @param bytes that a batch can have at most. */
function checkBatchBytes(bytes: number, batchSize: number): void {
  if (bytes <= BATCH_MAX_BYTES) return;
  throw invalidArgument(
    "batch_size",
    `a batch of ${batchSize} items of this dataset can have ${bytes} bytes; ${BATCH_MAX_BYTES} are allowed. Ask for fewer items.`,
    { bytes, limit: BATCH_MAX_BYTES },
  );
}

/** What a stream answers when the dataset or the trust in it went away, or the token ended, while it ran. */
export function accessEnded(): DataStreamError {
  return new DataStreamError(
    "unauthenticated",
    "access_token: the access token has expired or was revoked, or its dataset was deleted or is not trusted as before.",
    { details: { field: "access_token" } },
  );
}
