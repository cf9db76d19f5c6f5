import { elementTypeOf, type SampleType } from "../../core/augment/samples.ts";
import { type Processing, sampleStep, type Size } from "../../core/augment/steps.ts";
import { sizeAfter } from "../../core/augment/stages.ts";
import type { DatasetSchema, DataType } from "../../core/dataset/schema.ts";
import { invalidArgument } from "../../core/errors.ts";
import { IMAGE_MAX_BYTES } from "../../core/limits.ts";
import { elementBytes, itemBytes, type ItemFormat } from "../tensor.ts";
import { type ImageSource, imageSource } from "./image-source.ts";
import type { EncodedItem } from "./item.ts";
import { npyHeader } from "./npy-header.ts";

/** What the items of a stream become, and all that a thread must know to decode them. A plain value: it can be sent. */
export interface OutputFormat extends ItemFormat {
  /** "bytes": items as they came, one after the other, with a tensor of their ends. */
  readonly kind: "tensor" | "bytes";
  /** Bytes of one item in the tensor; 0 for "bytes", whose items differ. */
  readonly itemBytes: number;
  readonly source: ImageSource | ArraySource | undefined;
}

/** Items that are arrays, and stay as they are. */
export interface ArraySource {
  readonly encoding: "npy" | "raw";
}

/** Items as they came. */
export const BYTES_FORMAT: OutputFormat = {
  kind: "bytes",
  dtype: "uint8",
  shape: [],
  layout: "N…",
  itemBytes: 0,
  source: undefined,
};

/**
 * What a stream delivers, from the dataset's schema, the processing and the header of the first item; nothing is
 * decoded. The first item only decides what schema and processing leave open, and every other item has to follow it.
 * @throws DataStreamError `invalid_argument` naming the schema's or the processing's field, or the item's path.
 */
export function outputFormat(
  schema: DatasetSchema,
  processing: Processing | undefined,
  first: EncodedItem,
): OutputFormat {
  const images = imageSource(schema, processing !== undefined, first);
  if (images !== undefined) return imageFormat(schema, processing, first, images.source, images.firstSize);
  if (processing !== undefined)
    throw invalidArgument(
      "processing",
      `works on images; this dataset holds items of type ${schema.type} and format ${schema.format}.`,
    );
  switch (schema.format) {
    case "npy":
      return arrayFormat("npy", npyShape(schema, first));
    case "raw":
      return arrayFormat("raw", rawShape(schema));
    default:
      return BYTES_FORMAT;
  }
}

interface Shape {
  readonly shape: readonly number[];
  readonly dtype: DataType;
}

function npyShape(schema: DatasetSchema, first: EncodedItem): Shape {
  const header = npyHeader(first);
  return { shape: schema.shape ?? header.shape, dtype: schema.dtype ?? header.dtype };
}

function rawShape({ shape, dtype }: DatasetSchema): Shape {
  if (shape === undefined || dtype === undefined)
    throw invalidArgument("schema", "raw items need shape and dtype.");
  return { shape, dtype };
}

function arrayFormat(encoding: ArraySource["encoding"], { shape, dtype }: Shape): OutputFormat {
  const format: ItemFormat = { shape, dtype, layout: "N…" };
  return { kind: "tensor", ...format, itemBytes: itemBytes(format), source: { encoding } };
}

function imageFormat(
  schema: DatasetSchema,
  processing: Processing | undefined,
  first: EncodedItem,
  source: ImageSource,
  firstSize: Size,
): OutputFormat {
  const { channels, samples } = source;
  checkChannels(processing, channels);
  checkResampling(processing, samples);
  const [height, width] = schema.shape ?? firstSize;
  const size = sizeAfter(processing, [height as number, width as number]);
  const planar = sampleStep(processing, "layout")?.order === "NCHW";
  const format: ItemFormat = {
    shape: planar ? [channels, ...size] : [...size, channels],
    dtype: elementTypeOf(processing, samples),
    layout: planar ? "NCHW" : "NHWC",
  };
  const bytes = itemBytes(format);
  if (bytes > IMAGE_MAX_BYTES * elementBytes(format.dtype))
    throw invalidArgument(
      first.path,
      `becomes ${size.join("×")} pixels, ${bytes} bytes, which is too much for one item.`,
    );
  return { kind: "tensor", ...format, itemBytes: bytes, source };
}

function checkChannels(processing: Processing | undefined, channels: number): void {
  const given = sampleStep(processing, "normalize")?.mean.length ?? 1;
  if (given !== 1 && given !== channels)
    throw invalidArgument(
      "processing.steps",
      `normalize has ${given} means; the images have ${channels} channels.`,
    );
}

function checkResampling(processing: Processing | undefined, samples: SampleType): void {
  const step = processing?.steps.find(({ op }) => op === "resize" || op === "random_resized_crop");
  if (step !== undefined && samples !== "uint8")
    throw invalidArgument("processing.steps", `${step.op} works on 8-bit images; these have 16 bits.`);
}
