import { DataStreamError, invalidArgument } from "../core/errors.ts";
import { generator, type Geometry } from "./geometry.ts";
import { inverted, type Matrix, multiply, product } from "./gf256.ts";

/** How to compute some shards from k others. */
export interface Reconstruction {
  /** Indices of the k shards that are read, ascending. */
  readonly sources: readonly number[];
  /** Indices of the shards that are written, ascending. */
  readonly outputs: readonly number[];
  /** For each output and source 32 bytes: the coefficient times 0 … 15, and times 16 × (0 … 15). */
  readonly tables: Uint8Array;
  /** One output that is the plain sum of the sources, as after one lost shard of data. */
  readonly isSum: boolean;
}

const TABLE_BYTES = 32;
/** At most 4 KiB each. A deployment sees few patterns: those of the nodes that are down. */
const CACHED_PLANS = 256;

/** Reconstructions by loss pattern: for small ranges inverting a matrix costs more than the bytes. */
export class ReconstructionPlans {
  readonly #plans = new Map<string, Reconstruction>();

  /** @param geometry one that `checkGeometry` accepted. */
  find(geometry: Geometry, present: Iterable<number>, missing: Iterable<number>): Reconstruction {
    const { k } = geometry;
    const available = sorted(present, geometry);
    const outputs = sorted(missing, geometry);
    if (available.length < k) {
      throw new DataStreamError("data_loss", `${available.length} shards are left and ${k} are needed.`, {
        details: { present: available.length, needed: k },
      });
    }
    if (outputs.some((index) => available.includes(index))) {
      throw invalidArgument("missing", "must not name a shard that is present");
    }
    const sources = available.slice(0, k);
    const name = `${k}:${sources.join()}:${outputs.join()}`;
    let plan = this.#plans.get(name);
    if (plan === undefined) {
      plan = reconstruction(k, sources, outputs);
      if (this.#plans.size >= CACHED_PLANS) this.#plans.clear();
      this.#plans.set(name, plan);
    }
    return plan;
  }
}

function sorted(indices: Iterable<number>, { k, m }: Geometry): number[] {
  const list = [...indices].toSorted((a, b) => a - b);
  list.forEach((index, i) => {
    if (!Number.isInteger(index) || index < 0 || index >= k + m) {
      throw invalidArgument("shard", `must be an index from 0 to ${k + m - 1}`);
    }
    if (index === list[i - 1]) throw invalidArgument("shard", "must be named once");
  });
  return list;
}

function reconstruction(k: number, sources: readonly number[], outputs: readonly number[]): Reconstruction {
  // sources = G_sources × data, hence outputs = G_outputs × G_sources⁻¹ × sources.
  const inverse = inverted(generator(k, sources));
  if (inverse === undefined) {
    throw new DataStreamError("internal", "The code cannot be inverted; its geometry was not checked.");
  }
  const coefficients: Matrix = product(generator(k, outputs), inverse);
  const tables = new Uint8Array(outputs.length * k * TABLE_BYTES);
  coefficients.forEach((row, output) =>
    row.forEach((coefficient, source) => {
      const at = (output * k + source) * TABLE_BYTES;
      for (let nibble = 0; nibble < 16; nibble++) {
        tables[at + nibble] = multiply(coefficient, nibble);
        tables[at + 16 + nibble] = multiply(coefficient, nibble << 4);
      }
    }),
  );
  const isSum = coefficients.length === 1 && coefficients.every((row) => row.every((value) => value === 1));
  return { sources, outputs, tables, isSum };
}
