/**
 * Randomness without a state: every draw is a pure function of seed, epoch, item and step, so it is the same
 * whichever thread makes it, and whatever was drawn before.
 */

/** 128 pseudo-random bits. */
export type RandomWords = readonly [number, number, number, number];

/** What draws depend on. */
export interface DrawKey {
  /** Any 64-bit integer; signed and unsigned spellings of the same 64 bits are one seed. */
  readonly seed: bigint;
  /** 0, 1, 2… */
  readonly epoch: number;
  /** Index of the item in the dataset, below 2^32. */
  readonly itemIndex: number;
}

const ROUNDS = 10;
const STEP_SHIFT = 8;

/**
 * Philox4x32-10 (Salmon, Moraes, Dror, Shaw: Parallel random numbers: as easy as 1, 2, 3. SC11): four 32-bit words
 * from a counter of four words and a key of two.
 */
export function philox4x32(counter: RandomWords, key: readonly [number, number]): RandomWords {
  let [c0, c1, c2, c3] = counter as [number, number, number, number];
  let [k0, k1] = key as [number, number];
  for (let round = 0; round < ROUNDS; round++) {
    const high0 = multiplyHigh(0xd2511f53, c0);
    const high1 = multiplyHigh(0xcd9e8d57, c2);
    const low0 = Math.imul(0xd2511f53, c0);
    const low1 = Math.imul(0xcd9e8d57, c2);
    c0 = high1 ^ c1 ^ k0;
    c1 = low1;
    c2 = high0 ^ c3 ^ k1;
    c3 = low0;
    k0 = (k0 + 0x9e3779b9) | 0;
    k1 = (k1 + 0xbb67ae85) | 0;
  }
  return [c0 >>> 0, c1 >>> 0, c2 >>> 0, c3 >>> 0];
}

/** Draw number `block` (0 to 255) of step number `step` of a processing. */
export function draw({ seed, epoch, itemIndex }: DrawKey, step: number, block: number): RandomWords {
  return philox4x32(
    [(step << STEP_SHIFT) | block, itemIndex, epoch >>> 0, Math.floor(epoch / 2 ** 32)],
    [Number(BigInt.asUintN(32, seed)), Number(BigInt.asUintN(32, seed >> 32n))],
  );
}

/** A word as a number from 0 to below 1, a multiple of 2^-32. */
export function unit(word: number): number {
  return word / 2 ** 32;
}

/** A word as a whole number from 0 to below `count` (at most 2^21, so that the product is exact). */
export function below(word: number, count: number): number {
  return Math.floor((word * count) / 2 ** 32);
}

/** High word of the product of two 32-bit words, from products that doubles hold exactly. */
function multiplyHigh(a: number, b: number): number {
  const bLow = b & 0xffff;
  const bHigh = b >>> 16;
  return Math.floor(((a >>> 0) * bHigh + Math.floor(((a >>> 0) * bLow) / 2 ** 16)) / 2 ** 16) | 0;
}
