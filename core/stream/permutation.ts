/**
 * A permutation of 0…N−1 that is evaluated at any point in O(1) time and memory: a Feistel network over
 * 2h bits, h the least with 4^h ≥ N, six rounds of the 32-bit finaliser of MurmurHash3 (fmix32), and cycle
 * walking: what falls outside 0…N−1 goes through the network again. See docs/formats/order-v1.md.
 *
 * It mixes well for training. It is no cipher: who knows some of its values may predict others.
 */
export const ROUNDS = 6;

/** The finaliser of MurmurHash3: a bijection of 32-bit integers. */
function fmix32(value: number): number {
  let x = value;
  x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
  return x ^ (x >>> 16);
}

export class Permutation {
  readonly #size: number;
  readonly #keys: Int32Array;
  readonly #half: number;
  readonly #mask: number;

  /**
   * @param size N, 1 to 2^32.
   * @param keys six 32-bit round keys.
   */
  constructor(size: number, keys: Int32Array) {
    this.#size = size;
    this.#keys = keys;
    let half = 0;
    while (4 ** half < size) half++;
    this.#half = half;
    this.#mask = 2 ** half - 1;
  }

  /** @param point an integer from 0 to N−1; anything else gives no meaningful answer. */
  at(point: number): number {
    let x = point;
    do x = this.#encrypt(x);
    while (x >= this.#size);
    return x;
  }

  #encrypt(point: number): number {
    let left = point >>> this.#half;
    let right = point & this.#mask;
    for (let round = 0; round < ROUNDS; round++) {
      const mixed = left ^ (fmix32(right ^ (this.#keys[round] as number)) & this.#mask);
      left = right;
      right = mixed;
    }
    return ((left << this.#half) | right) >>> 0;
  }
}
