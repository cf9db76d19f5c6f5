import type { AxisWeights } from "../core/augment/weights.ts";
import { DataStreamError } from "../core/errors.ts";
import type { KernelInstance } from "./exports.ts";
import { HEAP_ALIGNMENT, type Heap } from "./heap.ts";
import { LOOK_UP_TABLE, RESAMPLE_TABLE } from "./layout.ts";

/** The kernels read and write up to so many bytes past the pixels of an image: regions for images have a margin. */
export const IMAGE_MARGIN_BYTES = 16;

/** 8-bit pixels in kernel memory, channels together. */
export interface Resampling {
  /** Address of the first pixel. A margin must follow the last. */
  readonly source: number;
  /** Bytes from a row to the next. */
  readonly sourceStride: number;
  readonly sourceRows: number;
  /** 1 to 4. */
  readonly channels: number;
  /** For each pixel of an output row, and for each output row. */
  readonly across: AxisWeights;
  readonly down: AxisWeights;
  /** Where the output goes, rows without gaps, and a margin. */
  readonly destination: number;
}

/** Pixels in kernel memory and what becomes of them. All places and steps are in bytes. */
export interface LookUp {
  /** Address of the pixel that comes first: the last of its row where the image is mirrored. */
  readonly source: number;
  readonly rowStep: number;
  /** Negative where the image is mirrored. */
  readonly pixelStep: number;
  readonly sampleBytes: 1 | 2;
  readonly height: number;
  readonly width: number;
  readonly channels: number;
  /** Address of the channels' tables, 256 or 65,536 elements each. */
  readonly tables: number;
  readonly elementBytes: 1 | 2 | 4;
  readonly destination: number;
  /** Channel by channel, not pixel by pixel. */
  readonly planar: boolean;
}

export class ImageKernels {
  readonly #kernel: KernelInstance;
  readonly #heap: Heap;

  constructor(kernel: KernelInstance, heap: Heap) {
    this.#kernel = kernel;
    this.#heap = heap;
  }

  /**
   * Resamples an image. Weights and rows take heap memory during the call.
   * @throws `resource_exhausted` when the heap has none left.
   */
  resample(input: Resampling): void {
    const { channels, across, down } = input;
    const width = across.starts.length;
    let ringRows = 2;
    while (ringRows < down.taps + 1) ringRows *= 2;
    const ringStride = aligned(width * channels * 2 + 2 * IMAGE_MARGIN_BYTES);
    const parts = [
      across.starts.byteLength,
      across.weights.byteLength,
      down.starts.byteLength,
      down.weights.byteLength,
      down.taps * 4,
      ringRows * ringStride,
    ].map(aligned);
    const region = this.#heap.tryAllocate(parts.reduce((sum, part) => sum + part, 0));
    if (region === undefined)
      throw new DataStreamError("resource_exhausted", "There is no memory left to resample an image in.");
    try {
      const { buffer } = this.#kernel.bytes;
      let at = region.pointer;
      const [xOffsets, xWeights, yStarts, yWeights, rows, ring] = parts.map(
        (part) => (at += part) - part,
      ) as [number, number, number, number, number, number];
      const offsets = new Int32Array(buffer, xOffsets, width);
      for (let i = 0; i < width; i++) offsets[i] = (across.starts[i] as number) * channels;
      new Int16Array(buffer, xWeights).set(across.weights);
      new Int32Array(buffer, yStarts).set(down.starts);
      new Int16Array(buffer, yWeights).set(down.weights);
      // The order of kernels/assembly/image/resample.ts.
      new Uint32Array(buffer, RESAMPLE_TABLE).set([
        input.source,
        input.sourceStride,
        input.sourceRows,
        channels,
        width,
        down.starts.length,
        xOffsets,
        xWeights,
        across.taps,
        yStarts,
        yWeights,
        down.taps,
        ring,
        ringStride,
        ringRows - 1,
        input.destination,
        rows,
      ]);
      this.#pairs(channels);
      this.#kernel.exports.resample(RESAMPLE_TABLE);
    } finally {
      region.free();
    }
  }

  /** Writes the element of every sample, height × width × channels or, planar, channels × height × width of them. */
  lookUp(input: LookUp): void {
    const { height, width, channels, elementBytes, planar } = input;
    // The order of kernels/assembly/image/look-up.ts.
    new Int32Array(this.#kernel.bytes.buffer, LOOK_UP_TABLE).set([
      input.source,
      input.rowStep,
      input.pixelStep,
      input.sampleBytes,
      width,
      height,
      channels,
      input.tables,
      elementBytes * (input.sampleBytes === 1 ? 256 : 65_536),
      elementBytes,
      input.destination,
      elementBytes * width * (planar ? 1 : channels),
      elementBytes * (planar ? 1 : channels),
      elementBytes * (planar ? height * width : 1),
    ]);
    this.#kernel.exports.lookUp(LOOK_UP_TABLE);
  }

  /** The swizzles of the table: zero-extended samples of two pixels side by side, for each channel. */
  #pairs(channels: number): void {
    const masks = this.#kernel.bytes.subarray(RESAMPLE_TABLE + 80, RESAMPLE_TABLE + 112).fill(0x80);
    for (let channel = 0; channel < channels; channel++) {
      for (let pair = 0; pair < 2; pair++) {
        masks[pair * 16 + channel * 4] = 2 * pair * channels + channel;
        masks[pair * 16 + channel * 4 + 2] = (2 * pair + 1) * channels + channel;
      }
    }
  }
}

function aligned(bytes: number): number {
  return Math.ceil(bytes / HEAP_ALIGNMENT) * HEAP_ALIGNMENT;
}
