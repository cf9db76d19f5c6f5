/** How many of the latest values count: some minutes of training. */
const KEPT = 4_096;

/**
 * Quantiles of the latest values, exact. Digests that interpolate between few distinct values would tell of waiting where
 * nearly all values are 0.
 */
export class RecentValues {
  readonly #values = new Float64Array(KEPT);
  #count = 0;

  add(value: number): void {
    this.#values[this.#count % KEPT] = value;
    this.#count += 1;
  }

  /** The least values that at least such parts of all do not exceed; 0 where there are none. */
  quantiles(parts: readonly number[]): number[] {
    const sorted = this.#values.slice(0, Math.min(this.#count, KEPT)).toSorted();
    return parts.map((part) => sorted[Math.max(0, Math.ceil(part * sorted.length) - 1)] ?? 0);
  }
}
