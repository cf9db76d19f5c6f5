import type { Size } from "../../core/augment/steps.ts";
import type { SampleType } from "../../core/augment/samples.ts";
import type { DatasetSchema } from "../../core/dataset/schema.ts";
import { invalidArgument } from "../../core/errors.ts";
import { arrayImageCodec } from "./array-image.ts";
import type { ImageCodec } from "./image-codec.ts";
import type { EncodedItem } from "./item.ts";
import { jpegCodec } from "./jpeg.ts";
import { pngCodec } from "./png.ts";

/** How the images of a dataset are stored, and what they all decode to. */
export interface ImageSource {
  readonly encoding: "jpeg" | "png" | "npy" | "raw";
  readonly channels: number;
  readonly samples: SampleType;
  /** Of raw images, which have no header to tell. */
  readonly size: Size | undefined;
}

/** By a schema's format. */
const ENCODINGS: Readonly<Record<string, ImageSource["encoding"]>> = {
  jpg: "jpeg",
  jpeg: "jpeg",
  png: "png",
  npy: "npy",
  raw: "raw",
};

export function codecOf(source: ImageSource): ImageCodec {
  if (source.encoding === "jpeg") return jpegCodec;
  if (source.encoding === "png") return pngCodec;
  return arrayImageCodec(source);
}

/**
 * How a dataset's images are stored, and the size of the first; undefined for items that are no images. Arrays (npy,
 * raw) count as images where the schema's type says so and `processed` needs pixels; else they stay arrays.
 * @throws DataStreamError `invalid_argument` naming the schema's field, or the path of the first item.
 */
export function imageSource(
  schema: DatasetSchema,
  processed: boolean,
  first: EncodedItem,
): { readonly source: ImageSource; readonly firstSize: Size } | undefined {
  const encoding = ENCODINGS[schema.format];
  if (encoding === undefined) return undefined;
  const isArray = encoding === "npy" || encoding === "raw";
  if (isArray && !(processed && schema.type === "image")) return undefined;
  const { shape } = schema;
  if (shape !== undefined && (shape.length < 2 || shape.length > 3))
    throw invalidArgument("schema.shape", "of an image is [height, width] or [height, width, channels].");
  const size: Size | undefined =
    encoding === "raw" && shape !== undefined ? [shape[0] as number, shape[1] as number] : undefined;
  const given = {
    encoding,
    size,
    channels: shape?.[2] ?? 1,
    samples: sampleType(schema) ?? "uint8",
  } as const;
  const codec = codecOf(given);
  const header = codec.header(first);
  const source: ImageSource = {
    ...given,
    channels: shape === undefined ? (codec.usualChannels ?? header.channels) : given.channels,
    samples: sampleType(schema) ?? header.samples,
  };
  if (!codec.channels.includes(source.channels))
    throw invalidArgument(
      "schema.shape",
      `has ${source.channels} channels; ${schema.format} images decode to ${codec.channels.join(" or ")}.`,
    );
  if (!codec.sampleTypes.includes(source.samples))
    throw invalidArgument(
      "schema.dtype",
      `is ${source.samples}; ${schema.format} images decode to ${codec.sampleTypes.join(" or ")}.`,
    );
  return { source, firstSize: [header.height, header.width] };
}

function sampleType({ dtype, format }: DatasetSchema): SampleType | undefined {
  if (dtype === undefined || dtype === "uint8" || dtype === "uint16") return dtype;
  throw invalidArgument("schema.dtype", `is ${dtype}; ${format} images decode to uint8 or uint16.`);
}
