/**
 * The sets of k shards from which to rebuild, when some shard lies and nobody knows which: try one after the other
 * until the item's hash fits. There are at most C(available, k) of them, so the search is bounded.
 *
 * The order of `available` is the order of preference. Sets that leave out few of the first k come first, and those
 * that leave out the same number take the first spares first: one liar among the first k is found after at most k
 * further sets if the first spare is honest.
 *
 * @param available indices of shards that can be read, best first, without repetitions.
 * @returns each set in the order of `available`; nothing when fewer than k are available.
 */
export function* sourceSets(available: readonly number[], k: number): Generator<number[], void, void> {
  const first = available.slice(0, k);
  const spares = available.slice(k);
  if (first.length < k) return;
  for (let replaced = 0; replaced <= Math.min(k, spares.length); replaced++)
    for (const added of combinations(spares, replaced))
      for (const kept of combinations(first, k - replaced)) yield [...kept, ...added];
}

/** How many sets `sourceSets` yields: C(available, k). */
export function sourceSetCount(available: number, k: number): number {
  if (k > available) return 0;
  let count = 1;
  for (let i = 1; i <= k; i++) count = (count * (available - k + i)) / i;
  return Math.round(count);
}

/** All ways to choose `size` of `values`, in lexicographic order of their places. */
function* combinations(values: readonly number[], size: number): Generator<number[], void, void> {
  if (size === 0) {
    yield [];
    return;
  }
  for (let i = 0; i + size <= values.length; i++)
    for (const rest of combinations(values.slice(i + 1), size - 1)) yield [values[i] as number, ...rest];
}
