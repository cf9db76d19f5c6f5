import { Transformer } from "@napi-rs/image";
import type { DatasetSchema, DataType } from "../../core/dataset/schema.ts";
import { DataStreamError, invalidArgument } from "../../core/errors.ts";
import type { ItemFormat } from "../tensor.ts";
import type { Decoder, EncodedItem } from "./decoder.ts";

interface Pixels {
  readonly shape: readonly [height: number, width: number, channels: number];
  readonly dtype: DataType;
  /** Row-major, channels together, little-endian. */
  readonly bytes: Uint8Array;
}

/** The decoder's numbers for what a pixel is made of. */
const COLOUR_TYPES: readonly { readonly channels: number; readonly dtype: DataType }[] = [
  { channels: 1, dtype: "uint8" },
  { channels: 2, dtype: "uint8" },
  { channels: 3, dtype: "uint8" },
  { channels: 4, dtype: "uint8" },
  { channels: 1, dtype: "uint16" },
  { channels: 2, dtype: "uint16" },
  { channels: 3, dtype: "uint16" },
  { channels: 4, dtype: "uint16" },
];

/**
 * PNG images (https://www.w3.org/TR/png-3/) as height × width × channels of uint8, or uint16 for
 * 16-bit images. Samples below 8 bits are scaled to 8 bits; palettes become colours.
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
    const { shape, dtype } = pixelsOf(first);
    const [height, width, channels = 1] = this.#schema.shape ?? shape;
    return {
      shape: [height as number, width as number, channels],
      dtype: this.#schema.dtype ?? dtype,
      layout: "NHWC",
    };
  }

  decode(item: EncodedItem, format: ItemFormat, into: Uint8Array): void {
    const { shape, dtype, bytes } = pixelsOf(item);
    if (shape.join() !== format.shape.join() || dtype !== format.dtype) {
      throw invalidArgument(
        item.path,
        `is ${shape.join("×")} of ${dtype}; this batch holds ${format.shape.join("×")} of ${format.dtype} (height × width × channels).`,
      );
    }
    into.set(bytes);
  }
}

function pixelsOf(item: EncodedItem): Pixels {
  try {
    const image = new Transformer(item.bytes);
    const { width, height, format, colorType } = image.metadataSync();
    const colour = COLOUR_TYPES[colorType];
    if (format !== "png" || colour === undefined)
      throw new TypeError(`${format} image of colour type ${colorType}`);
    return { shape: [height, width, colour.channels], dtype: colour.dtype, bytes: image.rawPixelsSync() };
  } catch (cause) {
    throw new DataStreamError("invalid_argument", `${item.path}: is no PNG image that can be decoded.`, {
      details: { field: item.path },
      cause,
    });
  }
}
