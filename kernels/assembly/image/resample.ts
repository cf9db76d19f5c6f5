// Resampling of 8-bit images with 1 to 4 channels: docs/formats/processing-v1.md. Each row that is needed is
// resampled horizontally once, into 16-bit samples with 6 bits of fraction, and kept in a ring of rows as long as
// an output row may want it; so the vertical pass finds its input in the nearest cache.

// The table that `kernels/image.ts` fills: u32 each, then two vectors.
const SOURCE: usize = 0;
const SOURCE_STRIDE: usize = 4;
const SOURCE_ROWS: usize = 8;
const CHANNELS: usize = 12;
const WIDTH: usize = 16;
const HEIGHT: usize = 20;
/** Of each output pixel, the offset in bytes of its first input pixel in a row. */
const X_OFFSETS: usize = 24;
const X_WEIGHTS: usize = 28;
const X_TAPS: usize = 32;
const Y_STARTS: usize = 36;
const Y_WEIGHTS: usize = 40;
const Y_TAPS: usize = 44;
const RING: usize = 48;
const RING_STRIDE: usize = 52;
/** Rows of the ring less one; their number is a power of two above the taps. */
const RING_MASK: usize = 56;
const DESTINATION: usize = 60;
/** Addresses of the rows that one output row is made of. */
const ROWS: usize = 64;
/** Swizzles that make 16-bit pairs of two neighbouring pixels, channel by channel: pixels 0 and 1, pixels 2 and 3. */
const PIXELS_01: usize = 80;
const PIXELS_23: usize = 96;

/** Of 14 bits of weight the horizontal pass drops 8, the vertical pass the rest and 6 bits of fraction. */
const X_SHIFT: i32 = 8;
const Y_SHIFT: i32 = 20;

/**
 * Reads up to 16 bytes past the last pixel that it uses, and writes up to 16 bytes past the last that it makes.
 * Rows follow each other in the destination without gaps.
 */
export function resample(table: usize): void {
  const sourceRows = load<u32>(table, SOURCE_ROWS);
  const source = <usize>load<u32>(table, SOURCE);
  const sourceStride = load<u32>(table, SOURCE_STRIDE);
  const ring = <usize>load<u32>(table, RING);
  const ringStride = load<u32>(table, RING_STRIDE);
  const ringMask = load<u32>(table, RING_MASK);
  const taps = load<u32>(table, Y_TAPS);
  const height = load<u32>(table, HEIGHT);
  const rows = <usize>load<u32>(table, ROWS);
  const bytes = load<u32>(table, WIDTH) * load<u32>(table, CHANNELS);
  const starts = <usize>load<u32>(table, Y_STARTS);
  let weights = <usize>load<u32>(table, Y_WEIGHTS);
  let destination = <usize>load<u32>(table, DESTINATION);
  let done: u32 = 0;
  for (let y: u32 = 0; y < height; y++) {
    const start = load<u32>(starts + (y << 2));
    let end = start + taps;
    if (end > sourceRows) end = sourceRows;
    if (done < start) done = start;
    while (done < end) {
      // Two at a time; the last row alone is made twice.
      let other = done + 1;
      if (other >= sourceRows) other = done;
      horizontal(
        table,
        source + done * sourceStride,
        source + other * sourceStride,
        ring + (done & ringMask) * ringStride,
        ring + (other & ringMask) * ringStride,
      );
      done = other + 1;
    }
    for (let t: u32 = 0; t < taps; t++) store<u32>(rows + (t << 2), ring + ((start + t) & ringMask) * ringStride);
    vertical(rows, weights, taps, destination, bytes);
    weights += taps << 1;
    destination += bytes;
  }
}

/** Two rows, so that each weight is loaded once for both. */
function horizontal(table: usize, rowA: usize, rowB: usize, toA: usize, toB: usize): void {
  const pixels01 = v128.load(table, PIXELS_01);
  const pixels23 = v128.load(table, PIXELS_23);
  const half = i32x4.splat(1 << (X_SHIFT - 1));
  const taps = load<u32>(table, X_TAPS);
  const fours = taps >> 2;
  const pair = taps & 2;
  const channels = load<u32>(table, CHANNELS);
  const step = channels << 2;
  const stepOut = channels << 1;
  let offsets = <usize>load<u32>(table, X_OFFSETS);
  let weights = <usize>load<u32>(table, X_WEIGHTS);
  const end = offsets + (load<u32>(table, WIDTH) << 2);
  while (offsets < end) {
    const offset = load<u32>(offsets);
    let a = rowA + offset;
    let b = rowB + offset;
    let sumA = half;
    let sumB = half;
    for (let n = fours; n != 0; n--) {
      const w01 = v128.load32_splat(weights);
      const w23 = v128.load32_splat(weights, 4);
      const inA = v128.load(a);
      const inB = v128.load(b);
      sumA = i32x4.add(sumA, i32x4.dot_i16x8_s(i8x16.swizzle(inA, pixels01), w01));
      sumB = i32x4.add(sumB, i32x4.dot_i16x8_s(i8x16.swizzle(inB, pixels01), w01));
      sumA = i32x4.add(sumA, i32x4.dot_i16x8_s(i8x16.swizzle(inA, pixels23), w23));
      sumB = i32x4.add(sumB, i32x4.dot_i16x8_s(i8x16.swizzle(inB, pixels23), w23));
      a += step;
      b += step;
      weights += 8;
    }
    if (pair) {
      const w01 = v128.load32_splat(weights);
      sumA = i32x4.add(sumA, i32x4.dot_i16x8_s(i8x16.swizzle(v128.load(a), pixels01), w01));
      sumB = i32x4.add(sumB, i32x4.dot_i16x8_s(i8x16.swizzle(v128.load(b), pixels01), w01));
      weights += 4;
    }
    sumA = i32x4.shr_s(sumA, X_SHIFT);
    sumB = i32x4.shr_s(sumB, X_SHIFT);
    // Lanes past the channels land where the next pixel goes, or in the row's margin.
    const both = i16x8.narrow_i32x4_s(sumA, sumB);
    v128.store_lane<u64>(toA, both, 0);
    v128.store_lane<u64>(toB, both, 1);
    toA += stepOut;
    toB += stepOut;
    offsets += 4;
  }
}

/** 16 samples at a time; the last time runs into the margins. */
function vertical(rows: usize, weights: usize, taps: u32, destination: usize, bytes: u32): void {
  const half = i32x4.splat(1 << (Y_SHIFT - 1));
  const rowsEnd = rows + (taps << 2);
  const end = destination + bytes;
  let at: usize = 0;
  while (destination < end) {
    let sum0 = half;
    let sum1 = half;
    let sum2 = half;
    let sum3 = half;
    let weight = weights;
    for (let row = rows; row < rowsEnd; row += 8) {
      const a = <usize>load<u32>(row) + at;
      const b = <usize>load<u32>(row, 4) + at;
      const w = v128.load32_splat(weight);
      const a0 = v128.load(a);
      const b0 = v128.load(b);
      const a1 = v128.load(a, 16);
      const b1 = v128.load(b, 16);
      sum0 = i32x4.add(sum0, i32x4.dot_i16x8_s(v128.shuffle<i16>(a0, b0, 0, 8, 1, 9, 2, 10, 3, 11), w));
      sum1 = i32x4.add(sum1, i32x4.dot_i16x8_s(v128.shuffle<i16>(a0, b0, 4, 12, 5, 13, 6, 14, 7, 15), w));
      sum2 = i32x4.add(sum2, i32x4.dot_i16x8_s(v128.shuffle<i16>(a1, b1, 0, 8, 1, 9, 2, 10, 3, 11), w));
      sum3 = i32x4.add(sum3, i32x4.dot_i16x8_s(v128.shuffle<i16>(a1, b1, 4, 12, 5, 13, 6, 14, 7, 15), w));
      weight += 4;
    }
    sum0 = i32x4.shr_s(sum0, Y_SHIFT);
    sum1 = i32x4.shr_s(sum1, Y_SHIFT);
    sum2 = i32x4.shr_s(sum2, Y_SHIFT);
    sum3 = i32x4.shr_s(sum3, Y_SHIFT);
    v128.store(
      destination,
      i8x16.narrow_i16x8_u(i16x8.narrow_i32x4_s(sum0, sum1), i16x8.narrow_i32x4_s(sum2, sum3)),
    );
    destination += 16;
    at += 32;
  }
}
