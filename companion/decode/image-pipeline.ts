import type { Processing, Size } from "../../core/augment/steps.ts";
import type { DrawKey } from "../../core/augment/random.ts";
import { isResampled, type Stage, stagesOf } from "../../core/augment/stages.ts";
import { axisWeights } from "../../core/augment/weights.ts";
import { IMAGE_MAX_BYTES } from "../../core/limits.ts";
import { IMAGE_MARGIN_BYTES, type Kernels } from "../../kernels/index.ts";
import { type ImageCodec, imageBytes, type ImageHeader, sampleBytes } from "./image-codec.ts";
import { codecOf, type ImageSource } from "./image-source.ts";
import { type EncodedItem, undecodable } from "./item.ts";
import type { OutputFormat } from "./output-format.ts";
import { allocate, PixelWriter, type Plane } from "./pixel-writer.ts";

/**
 * Decodes images and processes them (docs/formats/processing-v1.md) in kernel memory: decoded pixels are written there
 * once, resampled there, and become elements on the way out. An image that needs none of it is decoded straight to
 * where it goes.
 */
export class ImagePipeline {
  readonly #kernels: Kernels;
  readonly #processing: Processing | undefined;
  readonly #source: ImageSource;
  readonly #codec: ImageCodec;
  readonly #size: Size;
  readonly #writer: PixelWriter;

  /** @throws `resource_exhausted` when kernel memory has no room for its tables. */
  constructor(
    kernels: Kernels,
    format: OutputFormat,
    source: ImageSource,
    processing: Processing | undefined,
  ) {
    this.#kernels = kernels;
    this.#processing = processing;
    this.#source = source;
    this.#codec = codecOf(source);
    const [height, width] = format.layout === "NCHW" ? format.shape.slice(1) : format.shape;
    this.#size = [height as number, width as number];
    this.#writer = new PixelWriter(kernels, format, source, processing);
  }

  /**
   * Writes the item's tensor into exactly its bytes.
   * @throws DataStreamError naming the path, for an item that does not decode or does not fit the batch.
   */
  decode(item: EncodedItem, key: DrawKey, into: Uint8Array): void {
    const header = this.#codec.header(item);
    const size: Size = [header.height, header.width];
    const stages = stagesOf(this.#processing, size, key, item.path);
    const last = stages.at(-1) as Stage;
    this.#check(item, header, last);
    if (stages.length === 1 && this.#writer.plain && isWhole(last, size)) {
      this.#codec.decode(item, header, this.#source.channels, into);
      return;
    }
    let plane = this.#decoded(item, header);
    try {
      for (const stage of stages) {
        if (stage === last && !isResampled(stage)) break;
        plane = this.#resampled(item, plane, stage);
      }
      const { height, width } = plane;
      if (isResampled(last)) this.#writer.write(plane, { top: 0, left: 0, height, width }, false, into);
      else this.#writer.write(plane, last.crop, last.mirrored, into);
    } finally {
      plane.region.free();
    }
  }

  /** Gives its kernel memory back. */
  dispose(): void {
    this.#writer.dispose();
  }

  #check(item: EncodedItem, header: ImageHeader, { window }: Stage): void {
    const { channels, samples } = this.#source;
    const stored = this.#codec.usualChannels === undefined ? header.channels : channels;
    const [height, width] = this.#size;
    const fits = window.height === height && window.width === width;
    if (fits && stored === channels && header.samples === samples) return;
    const unchanged = window.height === header.height && window.width === header.width;
    const becomes = unchanged ? "" : ` (processed ${window.height}×${window.width})`;
    throw undecodable(
      item,
      `is ${header.height}×${header.width}×${stored} of ${header.samples}${becomes}; this batch holds ${height}×${width}×${channels} of ${samples} (height × width × channels).`,
    );
  }

  #decoded(item: EncodedItem, header: ImageHeader): Plane {
    const { channels, samples } = this.#source;
    const plane = this.#plane(item, header.height, header.width, sampleBytes(samples));
    try {
      this.#codec.decode(item, header, channels, plane.region.view.subarray(0, imageBytes(header, channels)));
    } catch (error) {
      plane.region.free();
      throw error;
    }
    return plane;
  }

  #resampled(item: EncodedItem, plane: Plane, { crop, size, window, mirrored }: Stage): Plane {
    const { channels } = this.#source;
    const result = this.#plane(item, window.height, window.width, 1);
    try {
      this.#kernels.images.resample({
        source: plane.region.pointer + (crop.top * plane.width + crop.left) * channels,
        sourceStride: plane.width * channels,
        sourceRows: crop.height,
        channels,
        across: axisWeights(crop.width, size[1], window.left, window.width, mirrored),
        down: axisWeights(crop.height, size[0], window.top, window.height, false),
        destination: result.region.pointer,
      });
    } catch (error) {
      result.region.free();
      throw error;
    }
    plane.region.free();
    return result;
  }

  #plane(item: EncodedItem, height: number, width: number, bytesPerSample: 1 | 2): Plane {
    const bytes = height * width * this.#source.channels * bytesPerSample;
    if (bytes > IMAGE_MAX_BYTES)
      throw undecodable(
        item,
        `becomes ${height}×${width} pixels on the way, ${bytes} bytes; ${IMAGE_MAX_BYTES} are allowed.`,
      );
    return { region: allocate(this.#kernels, bytes + IMAGE_MARGIN_BYTES), height, width };
  }
}

/** Whether a stage leaves an image of this size as it is. */
function isWhole(stage: Stage, [height, width]: Size): boolean {
  const { crop, mirrored } = stage;
  return !isResampled(stage) && !mirrored && crop.height === height && crop.width === width;
}
