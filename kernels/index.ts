/**
 * BLAKE3, Reed-Solomon and resampling in WebAssembly SIMD, with the memory they work in.
 * One binding for workerd, Node and browsers.
 */
import { kernelModule } from "#kernels-module";
import { DataStreamError } from "../core/errors.ts";
import type { Blake3 } from "../core/ports.ts";
import { KernelBlake3 } from "./blake3.ts";
import type { KernelExports, KernelInstance } from "./exports.ts";
import { Heap } from "./heap.ts";
import { ImageKernels } from "./image.ts";
import { HEAP_START, KERNEL_END } from "./layout.ts";
import { ReedSolomon } from "./reed-solomon.ts";

export type { Geometry } from "./geometry.ts";
export type { Heap, Region } from "./heap.ts";
export { IMAGE_MARGIN_BYTES } from "./image.ts";
export type { ReedSolomon } from "./reed-solomon.ts";

const PAGE_BYTES = 64 * 1024;
/** Room for the isolate's stream and upload buffers; a page that nobody touches takes no real memory. */
const HEAP_DEFAULT_BYTES = 80 * 1024 * 1024;

/** All memory of an instance with the default heap. */
export const KERNEL_MEMORY_BYTES: number =
  Math.ceil((HEAP_START + HEAP_DEFAULT_BYTES) / PAGE_BYTES) * PAGE_BYTES;

export interface Kernels {
  /** Takes any Uint8Array. One that lies in `memory` is hashed where it is; any other is copied in by pieces. */
  readonly blake3: Blake3;
  readonly rs: ReedSolomon;
  readonly images: ImageKernels;
  /** Never grows, so views of it stay valid. Only regions of `heap` may be written to from outside. */
  readonly memory: WebAssembly.Memory;
  /** All of `memory`. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly heap: Heap;
  /** Digest of `length` bytes at `pointer` in `memory`. */
  blake3At(pointer: number, length: number): Uint8Array;
  /**
   * Digests of pieces of `memory`, 32 bytes each, one after the other, in `into` or a new array.
   * Small items share the SIMD lanes whatever their lengths: for those up to 32 KiB one call with many costs
   * much less than a call for each.
   */
  hashMany(pointers: ArrayLike<number>, lengths: ArrayLike<number>, into?: Uint8Array): Uint8Array;
}

/** Makes an instance with a memory of its own. Calls on it never overlap, because none of them waits. */
export async function loadKernels(options: { readonly heapBytes?: number } = {}): Promise<Kernels> {
  const heapBytes = options.heapBytes ?? HEAP_DEFAULT_BYTES;
  const pages = Math.ceil((HEAP_START + heapBytes) / PAGE_BYTES);
  const memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
  const instance = await WebAssembly.instantiate(await kernelModule(), { env: { memory } });
  const kernel: KernelInstance = {
    exports: instance.exports as unknown as KernelExports,
    memory,
    bytes: new Uint8Array(memory.buffer),
  };
  if (kernel.exports.heapBase() > KERNEL_END) {
    throw new DataStreamError("internal", "The kernels take more memory than the binding left them.");
  }
  const blake3 = new KernelBlake3(kernel);
  const heap = new Heap(kernel.bytes, HEAP_START, HEAP_START + heapBytes);
  return {
    blake3,
    rs: new ReedSolomon(kernel),
    images: new ImageKernels(kernel, heap),
    memory,
    bytes: kernel.bytes,
    heap,
    blake3At: (pointer, length) => blake3.hashAt(pointer, length),
    hashMany: (pointers, lengths, into) => blake3.hashMany(pointers, lengths, into),
  };
}
