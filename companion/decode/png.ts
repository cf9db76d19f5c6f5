import { convertIndexedToRgb, decode, type DecodedPng } from "fast-png";
import type { DatasetSchema } from "../../core/dataset/schema.ts";
import { DataStreamError, invalidArgument } from "../../core/errors.ts";
import type { ItemFormat } from "../tensor.ts";
import type { Decoder, EncodedItem } from "./decoder.ts";

interface Pixels {
  readonly shape: readonly [height: number, width: number, channels: number];
  readonly samples: Uint8Array | Uint8ClampedArray | Uint16Array;
}

/**
 * PNG images (https://www.w3.org/TR/png-3/) as height × width × channels of uint8, or uint16 for
 * 16-bit images. Samples below 8 bits are widened without scaling; palettes become colours.
 * Not applied: gamma, colour profiles.
 */
export class PngDecoder implements Decoder {
  readonly #schema: DatasetSchema;

  constructor(schema: DatasetSchema) {
    if (schema.dtype !== undefined && schema.dtype !== "uint8" && schema.dtype !== "uint16") {
      throw invalidArgument("schema.dtype", `is ${schema.dtype}; PNG images decode to uint8 or uint16.`);
    }
    if (schema.shape !== undefined && (schema.shape.length < 2 || schema.shape.length > 3)) {
      throw invalidArgument("schema.shape", "of an image is [height, width] or [height, width, channels].");
    }
    this.#schema = schema;
  }

  format(first: EncodedItem): ItemFormat {
    const { shape, samples } = pixels(first);
    const dtype = samples instanceof Uint16Array ? "uint16" : "uint8";
    const [height, width, channels = 1] = this.#schema.shape ?? shape;
    const format: ItemFormat = {
      shape: [height as number, width as number, channels],
      dtype: this.#schema.dtype ?? dtype,
      layout: "NHWC",
    };
    return format;
  }

  decode(item: EncodedItem, format: ItemFormat, into: Uint8Array): void {
    const { shape, samples } = pixels(item);
    const dtype = samples instanceof Uint16Array ? "uint16" : "uint8";
    if (shape.join() !== format.shape.join() || dtype !== format.dtype) {
      throw invalidArgument(
        item.path,
        `is ${shape.join("×")} of ${dtype}; this batch holds ${format.shape.join("×")} of ${format.dtype} (height × width × channels).`,
      );
    }
    into.set(new Uint8Array(samples.buffer, samples.byteOffset, samples.byteLength));
  }
}

function pixels(item: EncodedItem): Pixels {
  let image: DecodedPng;
  try {
    image = decode(item.bytes);
  } catch (cause) {
    throw new DataStreamError("invalid_argument", `${item.path}: is no PNG image that can be decoded.`, {
      details: { field: item.path },
      cause,
    });
  }
  const { width, height } = image;
  if (image.palette !== undefined) {
    const samples = convertIndexedToRgb(image);
    return { shape: [height, width, samples.length / (width * height)], samples };
  }
  return { shape: [height, width, image.channels], samples: image.depth < 8 ? unpacked(image) : image.data };
}

/** One byte a sample from rows of packed 1, 2 or 4-bit samples; each row starts on a byte. */
function unpacked(image: DecodedPng): Uint8Array {
  const { width, height, depth, data } = image;
  const rowBytes = Math.ceil((width * depth) / 8);
  const samples = new Uint8Array(width * height);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const bit = x * depth;
      const byte = data[y * rowBytes + (bit >> 3)] as number;
      samples[y * width + x] = (byte >> (8 - depth - (bit & 7))) & ((1 << depth) - 1);
    }
  }
  return samples;
}
