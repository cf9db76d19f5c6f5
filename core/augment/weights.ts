/** Which pixels of a row or column make one pixel of the resampled one, and with what weights, in whole numbers. */

/** The sum of the weights of one pixel: 1.0. */
export const WEIGHT_ONE: number = 1 << 14;

/** For each pixel of a window `taps` weights, of pixels from its start on; those past the end of the input are 0. */
export interface AxisWeights {
  /** Even, so that weights are taken in pairs. */
  readonly taps: number;
  readonly starts: Int32Array<ArrayBuffer>;
  readonly weights: Int16Array<ArrayBuffer>;
}

/** Taps of `axisWeights` for an axis of `input` pixels made `output`. */
export function tapsOf(input: number, output: number): number {
  const widest = Math.min(input, Math.ceil((2 * Math.max(input, output)) / output));
  return widest + (widest % 2);
}

/**
 * A triangle over the centres of pixels, as wide as one pixel of the larger side on either hand: bilinear where the
 * image grows, with antialiasing where it shrinks. Rounded so that each pixel's weights sum to exactly `WEIGHT_ONE`.
 * @param input pixels of the axis, 1 to 2^16.
 * @param output pixels that it is resampled to, 1 to 2^16.
 * @param from first of the `count` pixels of the output that are wanted; the mirror image comes last pixel first.
 */
export function axisWeights(
  input: number,
  output: number,
  from: number,
  count: number,
  mirrored: boolean,
): AxisWeights {
  const taps = tapsOf(input, output);
  const starts = new Int32Array(count);
  const weights = new Int16Array(count * taps);
  const reach = 2 * Math.max(input, output);
  for (let i = 0; i < count; i++) {
    const pixel = from + (mirrored ? count - 1 - i : i);
    // All lengths are in units of 1/(2 × output) of a pixel of the input.
    const centre = (2 * pixel + 1) * input;
    const first = Math.max(0, Math.floor((centre - reach - output) / (2 * output)) + 1);
    const last = Math.min(input - 1, Math.ceil((centre + reach - output) / (2 * output)) - 1);
    let total = 0;
    for (let j = first; j <= last; j++) total += reach - Math.abs((2 * j + 1) * output - centre);
    let sum = 0;
    let before = 0;
    for (let j = first; j <= last; j++) {
      sum += reach - Math.abs((2 * j + 1) * output - centre);
      // Rounding the running sum, not each weight, keeps the total exact and every error below one.
      const upTo = Math.floor((2 * sum * WEIGHT_ONE + total) / (2 * total));
      weights[i * taps + j - first] = upTo - before;
      before = upTo;
    }
    starts[i] = first;
  }
  return { taps, starts, weights };
}
