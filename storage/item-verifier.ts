import type { Kernels } from "../kernels/index.ts";

/** Hashed together: as many as one kernel call takes, as much as stays in the second-level cache. */
const MAX_ITEMS = 128;
const MAX_BYTES = 128 * 1024;

/** Compares items with their BLAKE3, in small groups as they are filled. Kernel memory is hashed in place. */
export class ItemVerifier {
  readonly #kernels: Kernels;
  readonly #pointers: number[] = [];
  readonly #lengths: number[] = [];
  readonly #names: number[] = [];
  readonly #expected: Uint8Array[] = [];
  readonly #digests = new Uint8Array(MAX_ITEMS * 32);
  #bytes = 0;

  constructor(kernels: Kernels) {
    this.#kernels = kernels;
  }

  /** Takes the item called `name` up; those found to differ from their hash go to `mismatched`, now or with `flush`. */
  add(name: number, bytes: Uint8Array, expected: Uint8Array, mismatched: number[]): void {
    if (bytes.buffer !== this.#kernels.memory.buffer) {
      if (differ(this.#kernels.blake3.hash(bytes), 0, expected)) mismatched.push(name);
      return;
    }
    this.#pointers.push(bytes.byteOffset);
    this.#lengths.push(bytes.byteLength);
    this.#names.push(name);
    this.#expected.push(expected);
    this.#bytes += bytes.byteLength;
    if (this.#bytes >= MAX_BYTES || this.#names.length === MAX_ITEMS) this.flush(mismatched);
  }

  flush(mismatched: number[]): void {
    if (this.#names.length > 0) this.#kernels.hashMany(this.#pointers, this.#lengths, this.#digests);
    for (let i = 0; i < this.#names.length; i++) {
      if (differ(this.#digests, i * 32, this.#expected[i] as Uint8Array))
        mismatched.push(this.#names[i] as number);
    }
    this.#pointers.length = this.#lengths.length = this.#names.length = this.#expected.length = 0;
    this.#bytes = 0;
  }
}

function differ(digests: Uint8Array, at: number, expected: Uint8Array): boolean {
  for (let i = 0; i < 32; i++) if (digests[at + i] !== expected[i]) return true;
  return false;
}
