import { invalidArgument } from "../../core/errors.ts";
import type { StreamPosition } from "../stream/batch.ts";

/** Where the consumer of a mixture stands: small, JSON, and enough to go on at any world size. */
export interface MixPosition {
  /** Batches of the mixture that came before. */
  readonly position: number;
  readonly weights: readonly number[];
  /** Where each stream stands, in the order of the weights. */
  readonly streams: readonly StreamPosition[];
}

/** @throws `invalid_argument` for a position of another mixture. */
export function checkMixPosition(given: MixPosition, weights: readonly number[]): void {
  const { position, weights: taken, streams } = given;
  if (!Number.isSafeInteger(position) || position < 0 || streams.length !== weights.length)
    throw invalidArgument("position", `is no position of a mixture of ${weights.length} streams.`);
  if (taken.join() !== weights.join())
    throw invalidArgument(
      "position",
      `was taken with the weights ${taken.join(", ")}; this mixture has ${weights.join(", ")}.`,
    );
}
