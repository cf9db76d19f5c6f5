import { invalidArgument } from "../../core/errors.ts";
import { Mixing } from "../../core/stream/mixing.ts";
import { totalBatches } from "../../core/stream/batches.ts";
import type { StreamPosition } from "../stream/batch.ts";
import { beginOf, type Begin } from "../stream/begin.ts";
import type { StreamOptions } from "../stream/options.ts";
import { batchPlanOf, startRun, type StreamContext, type StreamRun } from "../stream/run.ts";
import { checkMixPosition, type MixPosition } from "./position.ts";

/** What happens when a stream has come to the end of its epochs and the mixture goes on: see docs/streams.md. */
export type ExhaustedPolicy = "stop" | "repeat";

export interface PlannedStream {
  readonly run: StreamRun;
  readonly begin: Begin;
  readonly position: StreamPosition;
  /** Batches that the mixture takes of it from here on, over so many epochs. */
  readonly batches: number;
  readonly epochs: number;
}

/** A mixture from where it begins to where it ends; both follow from the options and the datasets' sizes alone. */
export interface MixPlan {
  readonly mixing: Mixing;
  readonly first: number;
  readonly end: number;
  readonly streams: readonly PlannedStream[];
}

export interface WeightedStream {
  readonly context: StreamContext;
  readonly options: StreamOptions;
  readonly weight: number;
}

/** @throws `invalid_argument` for streams that cannot be mixed, or a position that is not theirs. */
export function planMix(
  streams: readonly WeightedStream[],
  exhausted: ExhaustedPolicy,
  position: MixPosition | undefined,
): MixPlan {
  const weights = streams.map(({ weight }) => weight);
  const mixing = new Mixing(weights);
  if (position !== undefined) checkMixPosition(position, weights);
  const first = position?.position ?? 0;
  const sources = streams.map((stream, i) => sourceOf(stream, position?.streams[i]));
  checkWorld(sources.map(({ run }) => run));

  const before = sources.map((_, i) => mixing.countBefore(i, first));
  const placeAfter = (source: number, batches: number): number =>
    mixing.positionOf(source, (before[source] as number) + batches);
  const end =
    exhausted === "stop"
      ? Math.min(...sources.map(({ left }, i) => placeAfter(i, Math.max(0, left))))
      : Math.max(first, ...sources.map(({ left }, i) => (left > 0 ? placeAfter(i, left - 1) + 1 : first)));
  return {
    mixing,
    first,
    end,
    streams: sources.map(({ run, begin, position: from, leftInEpoch, perEpoch }, i) => {
      const batches = mixing.countBefore(i, end) - (before[i] as number);
      const epochs = 1 + Math.ceil(Math.max(0, batches - leftInEpoch) / perEpoch);
      return { run, begin, position: from, batches, epochs };
    }),
  };
}

interface Source {
  readonly run: StreamRun;
  readonly begin: Begin;
  readonly position: StreamPosition;
  readonly perEpoch: number;
  /** In the epoch that it stands in. */
  readonly leftInEpoch: number;
  /** In all its epochs; below 0 for a stream that was repeated. */
  readonly left: number;
}

function sourceOf({ context, options }: WeightedStream, given: StreamPosition | undefined): Source {
  const { epoch = 0, epochs = 1, startIndex = 0, worldSize = 1, batchSize } = options;
  const position = given ?? {
    epoch,
    start_index: startIndex,
    batch_index: 0,
    world_size: worldSize,
    batch_size: batchSize,
  };
  const run = startRun(context, { ...options, position });
  const begin = beginOf({ ...options, position }, worldSize);
  const perEpoch = totalBatches(batchPlanOf(run, 0));
  if (perEpoch === 0)
    throw invalidArgument(
      "batchSize",
      `leaves no batch of ${options.dataset} to mix: its epochs are shorter.`,
    );
  const leftInEpoch = totalBatches(batchPlanOf(run, begin.startIndex)) - (begin.batchIndex ?? 0);
  const left = leftInEpoch + (epoch + epochs - 1 - begin.epoch) * perEpoch;
  return { run, begin, position, perEpoch, leftInEpoch, left };
}

/** Ranks stay in step only if each of them has the same batches of every stream. */
function checkWorld(runs: readonly StreamRun[]): void {
  const [one] = runs;
  for (const { rank, worldSize, plan } of runs) {
    if (rank !== one?.rank || worldSize !== one.worldSize)
      throw invalidArgument("worldSize", "and rank must be the same for all streams of a mixture.");
    if (worldSize > 1 && plan.parameters.tail === "short")
      throw invalidArgument(
        "tail",
        'must be "drop_last" or "pad" where several ranks mix streams: with "short" some have a batch more than others.',
      );
  }
}
