/** Less than this is not worth a message to another thread. */
const PIECE_MIN_BYTES = 64 * 1024;
/** So that a thread which was late to begin leaves some of its share to the others. */
const PIECES_PER_THREAD = 2;

/**
 * Cuts a list of items into runs of about equal bytes.
 * @returns the end of each run, ascending; the last is the number of items.
 */
export function splitByBytes(lengths: readonly number[], threads: number): number[] {
  const total = lengths.reduce((sum, length) => sum + length, 0);
  const wanted = Math.max(1, Math.min(threads * PIECES_PER_THREAD, Math.floor(total / PIECE_MIN_BYTES)));
  const ends: number[] = [];
  let sum = 0;
  for (const [i, length] of lengths.entries()) {
    sum += length;
    const isFull = ends.length + 1 < wanted && sum * wanted >= total * (ends.length + 1);
    if (isFull || i === lengths.length - 1) ends.push(i + 1);
  }
  return ends;
}
