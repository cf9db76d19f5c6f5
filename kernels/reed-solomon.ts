import { invalidArgument } from "../core/errors.ts";
import type { KernelInstance } from "./exports.ts";
import { checkGeometry, type Geometry } from "./geometry.ts";
import { OUTPUT_POINTERS, SHARD_POINTERS, STAGING, STAGING_BYTES, TABLES } from "./layout.ts";
import { type Reconstruction, ReconstructionPlans } from "./reconstruction.ts";

const POINTERS_MAX = 36;
const FIRST_OUTPUT = (OUTPUT_POINTERS - SHARD_POINTERS) / 4;

/**
 * Reed-Solomon over GF(2^8) modulo 0x11d. The code works byte by byte: byte i of a lost shard
 * depends on bytes i of k others and nothing else. So a RANGE of a shard is rebuilt by passing
 * pointers to that range of the others; no length or alignment is demanded.
 *
 * Pointers are into kernel memory. Outputs must not overlap inputs. Nothing here detects
 * corrupt input to `reconstruct`: wrong bytes in, wrong bytes out.
 */
export class ReedSolomon {
  readonly #kernel: KernelInstance;
  readonly #pointers: Uint32Array;
  readonly #plans = new ReconstructionPlans();
  #loaded: Reconstruction | undefined;

  constructor(kernel: KernelInstance) {
    this.#kernel = kernel;
    this.#pointers = new Uint32Array(kernel.memory.buffer, SHARD_POINTERS, POINTERS_MAX);
  }

  /** Writes the m parity shards of `length` bytes for k data shards. */
  encode(geometry: Geometry, data: readonly number[], parity: readonly number[], length: number): void {
    this.#point(geometry, data, parity);
    this.#kernel.exports.rsEncode(SHARD_POINTERS, geometry.k, geometry.m, length);
  }

  /** Whether the parity shards fit the data shards in all `length` bytes. */
  verify(geometry: Geometry, data: readonly number[], parity: readonly number[], length: number): boolean {
    this.#point(geometry, data, parity);
    return this.#kernel.exports.rsVerify(SHARD_POINTERS, geometry.k, geometry.m, length) !== 0;
  }

  /**
   * Writes the `missing` shards (index → pointer to write to) from any k of the `present` ones
   * (index → pointer). Of more than k present, those with the lowest indices are read.
   * @throws `data_loss` when fewer than k are present.
   */
  reconstruct(
    geometry: Geometry,
    present: ReadonlyMap<number, number>,
    missing: ReadonlyMap<number, number>,
    length: number,
  ): void {
    const plan = this.plan(geometry, present.keys(), missing.keys());
    plan.sources.forEach((index, i) => (this.#pointers[i] = present.get(index) as number));
    plan.outputs.forEach((index, i) => (this.#pointers[FIRST_OUTPUT + i] = missing.get(index) as number));
    const { rsCombine, rsEncode } = this.#kernel.exports;
    if (plan.outputs.length === 0) return;
    if (plan.isSum) {
      rsEncode(SHARD_POINTERS, geometry.k, 1, length);
      return;
    }
    if (this.#loaded !== plan) {
      this.#kernel.bytes.set(plan.tables, TABLES);
      this.#loaded = plan;
    }
    rsCombine(SHARD_POINTERS, TABLES, geometry.k, plan.outputs.length, length);
  }

  /** Which shards a reconstruction reads; the same checks and errors as `reconstruct`. */
  plan(geometry: Geometry, present: Iterable<number>, missing: Iterable<number>): Reconstruction {
    checkGeometry(geometry);
    return this.#plans.find(geometry, present, missing);
  }

  /** The parity shards of `data`, which may lie anywhere; each result is owned by the caller. */
  encodeBytes(geometry: Geometry, data: readonly Uint8Array[]): Uint8Array[] {
    checkGeometry(geometry);
    const parity = data.slice(0, 1).flatMap(({ byteLength }) => fresh(geometry.m, byteLength));
    this.#staged(data, parity, (inputs, outputs, length) => this.encode(geometry, inputs, outputs, length));
    return parity;
  }

  /** Whether all k+m `shards`, data first, fit together. */
  verifyBytes(geometry: Geometry, shards: readonly Uint8Array[]): boolean {
    checkGeometry(geometry);
    let fits = true;
    this.#staged(shards, [], (inputs, _, length) => {
      fits &&= this.verify(geometry, inputs.slice(0, geometry.k), inputs.slice(geometry.k), length);
    });
    return fits;
  }

  /** The `missing` shards, or the range of them that `present` holds of the others. */
  reconstructBytes(
    geometry: Geometry,
    present: ReadonlyMap<number, Uint8Array>,
    missing: readonly number[],
  ): Map<number, Uint8Array> {
    const { sources } = this.plan(geometry, present.keys(), missing);
    const inputs = sources.map((index) => present.get(index) as Uint8Array);
    const outputs = fresh(missing.length, inputs[0]?.byteLength ?? 0);
    this.#staged(inputs, outputs, (from, to, length) => {
      const sourcePointers = new Map(sources.map((index, i) => [index, from[i] as number]));
      const outputPointers = new Map(missing.map((index, i) => [index, to[i] as number]));
      this.reconstruct(geometry, sourcePointers, outputPointers, length);
    });
    return new Map(missing.map((index, i) => [index, outputs[i] as Uint8Array]));
  }

  #point(geometry: Geometry, data: readonly number[], parity: readonly number[]): void {
    checkGeometry(geometry);
    if (data.length !== geometry.k) throw invalidArgument("data", `must be ${geometry.k} shards`);
    if (parity.length !== geometry.m) throw invalidArgument("parity", `must be ${geometry.m} shards`);
    this.#pointers.set(data);
    this.#pointers.set(parity, FIRST_OUTPUT);
  }

  /** Runs `step` over slices that fit the staging area: what lies outside kernel memory is copied in and out. */
  #staged(
    inputs: readonly Uint8Array[],
    outputs: readonly Uint8Array[],
    step: (inputs: number[], outputs: number[], length: number) => void,
  ): void {
    const total = inputs[0]?.byteLength ?? 0;
    if (inputs.some(({ byteLength }) => byteLength !== total)) {
      throw invalidArgument("shards", "must all be of one length");
    }
    const slice = Math.floor(STAGING_BYTES / (inputs.length + outputs.length) / 64) * 64;
    const { bytes, memory } = this.#kernel;
    for (let at = 0; at < total; at += slice) {
      const length = Math.min(slice, total - at);
      const from = inputs.map((input, i) => {
        if (input.buffer === memory.buffer) return input.byteOffset + at;
        bytes.set(input.subarray(at, at + length), STAGING + i * slice);
        return STAGING + i * slice;
      });
      const to = outputs.map((_, i) => STAGING + (inputs.length + i) * slice);
      step(from, to, length);
      outputs.forEach((output, i) => {
        const pointer = to[i] as number;
        output.set(bytes.subarray(pointer, pointer + length), at);
      });
    }
  }
}

function fresh(count: number, byteLength: number): Uint8Array[] {
  return Array.from({ length: count }, () => new Uint8Array(byteLength));
}
