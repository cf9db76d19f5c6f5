import { invalidArgument } from "../../core/errors.ts";
import { totalBatches, type BatchPlan } from "../../core/stream/batches.ts";
import type { StreamPosition } from "./batch.ts";
import type { StreamOptions } from "./options.ts";

/** Where an epoch begins: undefined batch means "after the last acknowledged one". */
export interface Begin {
  readonly epoch: number;
  readonly startIndex: number;
  readonly batchIndex: number | undefined;
}

/** Epochs are 32-bit numbers on the wire. */
const EPOCH_MAX = 2 ** 32 - 1;

/**
 * Where the first epoch begins. A position taken at another world size becomes a start of its own: global batches end at
 * the same place on all ranks, so nothing is skipped or repeated.
 * @throws `invalid_argument` for a position of another batch size.
 */
export function beginOf(options: StreamOptions, worldSize: number): Begin {
  const { position } = options;
  if (position === undefined) {
    const fresh = options.streamId === undefined;
    return {
      epoch: options.epoch ?? 0,
      startIndex: options.startIndex ?? 0,
      batchIndex: fresh ? 0 : undefined,
    };
  }
  if (position.batch_size !== options.batchSize) {
    throw invalidArgument(
      "position",
      `was taken with batch_size ${position.batch_size}; this stream has ${options.batchSize}.`,
    );
  }
  if (position.world_size === worldSize) {
    return { epoch: position.epoch, startIndex: position.start_index, batchIndex: position.batch_index };
  }
  const startIndex = position.start_index + position.batch_index * position.batch_size * position.world_size;
  return { epoch: position.epoch, startIndex, batchIndex: 0 };
}

/** The epoch after one that is streamed to its end. */
export function nextEpoch({ epoch, batchIndex }: Begin): Begin {
  return { epoch: epoch + 1, startIndex: 0, batchIndex: batchIndex === undefined ? undefined : 0 };
}

/** @throws `invalid_argument` */
export function checkEpochs({ epoch, epochs = 1, position }: StreamOptions): void {
  const first = position?.epoch ?? epoch ?? 0;
  if (!Number.isInteger(epochs) || epochs < 1)
    throw invalidArgument("epochs", "must be a whole number of at least 1.");
  if (!Number.isInteger(first) || first < 0 || first + epochs - 1 > EPOCH_MAX)
    throw invalidArgument("epoch", `must be a whole number, and the last one at most ${EPOCH_MAX}.`, {
      limit: EPOCH_MAX,
    });
}

/**
 * Past its end a position is of another dataset or filter, and an epoch of nothing would pass unseen.
 * @throws `invalid_argument`
 */
export function checkPosition(
  { start_index: start, batch_index: batch, world_size: worldSize }: StreamPosition,
  plan: BatchPlan,
): void {
  const isWhole = [start, batch, worldSize - 1].every((value) => Number.isSafeInteger(value) && value >= 0);
  // Rank 0 has the most batches, and ranks may share its position.
  const total = isWhole ? totalBatches({ ...plan, start, worldSize, rank: 0 }) : 0;
  if (isWhole && start <= plan.count && batch <= total) return;
  throw invalidArgument(
    "position",
    `is no place of an epoch of ${plan.count} items: batch ${batch} from item ${start} on.`,
  );
}
