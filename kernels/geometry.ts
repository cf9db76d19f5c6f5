import { invalidArgument } from "../core/errors.ts";
import { type Matrix, power } from "./gf256.ts";

/** k data shards and m parity shards. Shards are numbered data first: 0 … k−1, then parity k … k+m−1. */
export interface Geometry {
  readonly k: number;
  readonly m: number;
}

/**
 * Largest k for each m up to which every choice of k of the k+m generator rows was found
 * regular (test/kernels checks it). With m = 4 the generator is singular from k = 22 on.
 */
const LARGEST_K: Readonly<Record<number, number>> = { 1: 32, 2: 32, 3: 32, 4: 21 };

/** Throws `invalid_argument` for a geometry in which some loss of m shards could not be undone. */
export function checkGeometry({ k, m }: Geometry): void {
  const largest = LARGEST_K[m];
  if (largest === undefined) throw invalidArgument("m", "must be 1, 2, 3 or 4 parity shards", { limit: 4 });
  if (!Number.isInteger(k) || k < 1 || k > largest) {
    throw invalidArgument("k", `must be 1 to ${largest} data shards with ${m} parity shards`, {
      limit: largest,
    });
  }
}

/**
 * Row `index` of the generator matrix [I; 1, 2^i, 4^i, 8^i]: the coefficients of the data
 * shards in shard `index`. Equals the rows of ISA-L's `gf_gen_rs_matrix`.
 */
function generatorRow(k: number, index: number): Uint8Array<ArrayBuffer> {
  if (index < k) return Uint8Array.from({ length: k }, (_, i) => (i === index ? 1 : 0));
  return Uint8Array.from({ length: k }, (_, i) => power(i * (index - k)));
}

export function generator(k: number, indices: readonly number[]): Matrix {
  return indices.map((index) => generatorRow(k, index));
}
