import { type Processing, sampleStep } from "../../core/augment/steps.ts";
import { type SampleTable, sampleTable } from "../../core/augment/samples.ts";
import type { Rectangle } from "../../core/augment/stages.ts";
import { DataStreamError } from "../../core/errors.ts";
import type { Kernels, Region } from "../../kernels/index.ts";
import { elementBytes } from "../tensor.ts";
import { sampleBytes } from "./image-codec.ts";
import type { ImageSource } from "./image-source.ts";
import type { OutputFormat } from "./output-format.ts";

/** Pixels in kernel memory, rows without gaps. */
export interface Plane {
  readonly region: Region;
  readonly height: number;
  readonly width: number;
}

/** The end of a processing: normalises, casts, lays out, cuts and mirrors in one pass over the pixels. */
export class PixelWriter {
  readonly #kernels: Kernels;
  readonly #channels: number;
  readonly #sampleBytes: 1 | 2;
  readonly #elementBytes: 1 | 2 | 4;
  readonly #planar: boolean;
  readonly #tables: Region;
  /** Whether elements are samples in their order, unless an image is mirrored. */
  readonly plain: boolean;

  /** @throws `resource_exhausted` when kernel memory has no room for the tables. */
  constructor(
    kernels: Kernels,
    format: OutputFormat,
    source: ImageSource,
    processing: Processing | undefined,
  ) {
    this.#kernels = kernels;
    this.#channels = source.channels;
    this.#sampleBytes = sampleBytes(source.samples);
    this.#elementBytes = elementBytes(format.dtype) as 1 | 2 | 4;
    this.#planar = sampleStep(processing, "layout")?.order === "NCHW";
    const tables = Array.from({ length: source.channels }, (_, channel) =>
      sampleTable(processing, source.samples, channel),
    );
    this.plain = tables[0] === undefined && !(this.#planar && source.channels > 1);
    const bytes = 256 ** this.#sampleBytes * this.#elementBytes;
    this.#tables = allocate(kernels, bytes * source.channels);
    for (const [channel, table] of tables.entries()) {
      const { buffer } = table ?? unchanged(this.#sampleBytes);
      this.#tables.view.set(new Uint8Array(buffer), channel * bytes);
    }
  }

  /** Writes the elements of `part` of the pixels into exactly their bytes. */
  write({ region, width }: Plane, part: Rectangle, mirrored: boolean, into: Uint8Array): void {
    const pixel = this.#channels * this.#sampleBytes;
    const row = width * pixel;
    const origin = region.pointer + part.top * row + part.left * pixel;
    if (this.plain && !mirrored) {
      const bytes = part.width * pixel;
      for (let y = 0; y < part.height; y++) {
        const from = origin + y * row;
        into.set(this.#kernels.bytes.subarray(from, from + bytes), y * bytes);
      }
      return;
    }
    const elements = allocate(this.#kernels, into.byteLength);
    try {
      this.#kernels.images.lookUp({
        source: mirrored ? origin + (part.width - 1) * pixel : origin,
        rowStep: row,
        pixelStep: mirrored ? -pixel : pixel,
        sampleBytes: this.#sampleBytes,
        height: part.height,
        width: part.width,
        channels: this.#channels,
        tables: this.#tables.pointer,
        elementBytes: this.#elementBytes,
        destination: elements.pointer,
        planar: this.#planar,
      });
      into.set(elements.view);
    } finally {
      elements.free();
    }
  }

  /** Gives the tables' memory back. */
  dispose(): void {
    this.#tables.free();
  }
}

/** @throws `resource_exhausted` when the heap has no such piece left. */
export function allocate(kernels: Kernels, byteLength: number): Region {
  const region = kernels.heap.tryAllocate(byteLength);
  if (region !== undefined) return region;
  throw new DataStreamError(
    "resource_exhausted",
    `A decoder thread has no ${byteLength} bytes left of its ${kernels.heap.capacity}.`,
  );
}

function unchanged(bytes: 1 | 2): SampleTable {
  return bytes === 1
    ? Uint8Array.from({ length: 256 }, (_, sample) => sample)
    : Uint16Array.from({ length: 65_536 }, (_, sample) => sample);
}
