import type { SampleType } from "../../core/augment/samples.ts";
import { IMAGE_MAX_BYTES, IMAGE_MAX_SIDE } from "../../core/limits.ts";
import { type EncodedItem, undecodable } from "./item.ts";

/** What the header of an image says; read before anything is decoded. */
export interface ImageHeader {
  readonly height: number;
  readonly width: number;
  /** As stored. */
  readonly channels: number;
  readonly samples: SampleType;
}

/** One way in which images are stored. They decode to height × width × channels, channels together, little-endian. */
export interface ImageCodec {
  readonly sampleTypes: readonly SampleType[];
  /** Channels that it decodes to. */
  readonly channels: readonly number[];
  /** Channels of every image whatever it is stored with, unless a schema says otherwise; undefined: as stored. */
  readonly usualChannels: number | undefined;
  /**
   * Reads the header alone.
   * @throws DataStreamError `invalid_argument` naming the path, also for an image above the limits: see `checkedSize`.
   */
  header(item: EncodedItem): ImageHeader;
  /**
   * Decodes into exactly the image's bytes.
   * @param header the item's own, which has as many channels where `usualChannels` is undefined.
   * @throws DataStreamError `invalid_argument` naming the path.
   */
  decode(item: EncodedItem, header: ImageHeader, channels: number, into: Uint8Array): void;
}

export function sampleBytes(samples: SampleType): 1 | 2 {
  return samples === "uint8" ? 1 : 2;
}

/** Bytes of a decoded image. */
export function imageBytes({ height, width, samples }: ImageHeader, channels: number): number {
  return height * width * channels * sampleBytes(samples);
}

/** The header, unless it announces more than anybody should decode: a few bytes can claim any size. */
export function checkedSize(item: EncodedItem, header: ImageHeader): ImageHeader {
  const { height, width } = header;
  if (height < 1 || width < 1) throw undecodable(item, `is an image of ${height}×${width} pixels.`);
  if (height > IMAGE_MAX_SIDE || width > IMAGE_MAX_SIDE)
    throw undecodable(item, `is ${height}×${width} pixels; ${IMAGE_MAX_SIDE} a side are allowed.`);
  const bytes = imageBytes(header, Math.max(3, header.channels));
  if (bytes > IMAGE_MAX_BYTES)
    throw undecodable(
      item,
      `is ${height}×${width} pixels, ${bytes} bytes decoded; ${IMAGE_MAX_BYTES} are allowed.`,
    );
  return header;
}
