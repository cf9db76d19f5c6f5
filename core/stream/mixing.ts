/**
 * Several sources mixed into one sequence by whole weights: which source a position takes from, and its how manieth item
 * that is. A pure function of the weights, so that one number says where a mixture stands. docs/streams.md defines it;
 * test/vectors/mixing.json is for every implementation to reproduce.
 */
import { invalidArgument } from "../errors.ts";
import { MIXED_STREAMS_MAX, MIXING_CYCLE_MAX } from "../limits.ts";

export interface MixedPlace {
  /** Index into the weights. */
  readonly source: number;
  /** Counts what the source gives, from 0 on. */
  readonly index: number;
}

/**
 * With W the sum of the weights w, without their common divisor, every W positions hold exactly w of each source. Among
 * the first k positions, for every k, a source has k·w/W rounded down or up, so it is never a whole item off.
 *
 * The order within a cycle is that of Tijdeman's chairman assignment ("The chairman assignment problem", Discrete
 * Mathematics 32, 1980): the j-th item of a source may not come before position ⌊j·W/w⌋ and must come before
 * ⌈(j+1)·W/w⌉; each position takes, of the items that may come, the one that must come first; of several the one that
 * might have come first; of several the first source's. Nothing simpler does: counting each source by a floor of its
 * own does not add up to k for more than two of them, and nesting pairs lets a source drift by more than an item.
 */
export class Mixing {
  /** Positions after which the sources repeat. */
  readonly cycle: number;
  /** Of each source in a cycle. */
  readonly perCycle: readonly number[];
  /** The source at each position of a cycle. */
  readonly #sources: Uint8Array;
  /** How many of the same source come before, in a cycle. */
  readonly #indices: Uint32Array;
  /** Positions of each source in a cycle, ascending. */
  readonly #positions: readonly Uint32Array[];

  /** @throws `invalid_argument` unless there are 1 to 64 weights, positive whole numbers of a sum within the limit. */
  constructor(weights: readonly number[]) {
    checkWeights(weights);
    const divisor = weights.reduce(greatestCommonDivisor);
    const perCycle = weights.map((weight) => weight / divisor);
    const cycle = perCycle.reduce((sum, weight) => sum + weight);
    if (cycle > MIXING_CYCLE_MAX)
      throw invalidArgument(
        "weights",
        `their sum, without the common divisor, must be at most ${MIXING_CYCLE_MAX}, not ${cycle}.`,
        { limit: MIXING_CYCLE_MAX },
      );
    this.cycle = cycle;
    this.perCycle = perCycle;
    this.#sources = new Uint8Array(cycle);
    this.#indices = new Uint32Array(cycle);
    this.#positions = perCycle.map((weight) => new Uint32Array(weight));
    const taken = perCycle.map(() => 0);
    for (let position = 0; position < cycle; position++) {
      const source = dueSource(perCycle, taken, cycle, position);
      const index = taken[source] as number;
      this.#sources[position] = source;
      this.#indices[position] = index;
      (this.#positions[source] as Uint32Array)[index] = position;
      taken[source] = index + 1;
    }
  }

  /** @param position from 0 on; how many it may be is up to the sources. */
  at(position: number): MixedPlace {
    const within = position % this.cycle;
    const source = this.#sources[within];
    if (source === undefined) throw new RangeError("A position is a whole number from 0 on.");
    const cycles = (position - within) / this.cycle;
    return { source, index: cycles * this.#weight(source) + (this.#indices[within] as number) };
  }

  /** Where a source's item stands: the inverse of `at`. */
  positionOf(source: number, index: number): number {
    const weight = this.#weight(source);
    const within = this.#positions[source]?.[index % weight];
    if (within === undefined) throw new RangeError("An index is a whole number from 0 on.");
    return ((index - (index % weight)) / weight) * this.cycle + within;
  }

  /** How many of a source's items stand before a position. */
  countBefore(source: number, position: number): number {
    const weight = this.#weight(source);
    const within = position % this.cycle;
    // Never a whole item off: it is one of two numbers, and the position of the lower one's item tells which.
    const low = Math.floor((within * weight) / this.cycle);
    const rest =
      low < weight && ((this.#positions[source] as Uint32Array)[low] as number) < within ? low + 1 : low;
    return ((position - within) / this.cycle) * weight + rest;
  }

  #weight(source: number): number {
    const weight = this.perCycle[source];
    if (weight === undefined) throw new RangeError(`There are ${this.perCycle.length} sources.`);
    return weight;
  }
}

/** The source of a cycle's position, of those before which `taken` were given. */
function dueSource(
  perCycle: readonly number[],
  taken: readonly number[],
  cycle: number,
  position: number,
): number {
  let due = { source: -1, end: Number.POSITIVE_INFINITY, begin: 0 };
  for (const [source, weight] of perCycle.entries()) {
    const index = taken[source] as number;
    const begin = Math.floor((index * cycle) / weight);
    if (index === weight || begin > position) continue;
    const end = Math.ceil(((index + 1) * cycle) / weight);
    if (end < due.end || (end === due.end && begin < due.begin)) due = { source, end, begin };
  }
  return due.source;
}

function checkWeights(weights: readonly number[]): void {
  if (weights.length === 0 || weights.length > MIXED_STREAMS_MAX)
    throw invalidArgument("weights", `must be 1 to ${MIXED_STREAMS_MAX}, not ${weights.length}.`, {
      limit: MIXED_STREAMS_MAX,
    });
  for (const weight of weights)
    if (!Number.isSafeInteger(weight) || weight < 1)
      throw invalidArgument("weights", `must be positive whole numbers, not ${weight}.`);
}

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b);
}
