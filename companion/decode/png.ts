import { Transformer } from "@napi-rs/image";
import { type ImageCodec, imageBytes } from "./image-codec.ts";
import { undecodable } from "./item.ts";
import { pngHeader } from "./png-header.ts";

/**
 * PNG images as height × width × channels of uint8, or uint16 for 16-bit images. Samples below 8 bits are scaled to
 * 8 bits; palettes become colours. All images of a dataset have the channels of its schema or of the first image.
 * Not applied: gamma, colour profiles.
 */
export const pngCodec: ImageCodec = {
  sampleTypes: ["uint8", "uint16"],
  channels: [1, 2, 3, 4],
  usualChannels: undefined,
  header: pngHeader,
  decode(item, header, channels, into) {
    let pixels: Uint8Array;
    try {
      pixels = new Transformer(item.bytes).rawPixelsSync();
    } catch (cause) {
      throw undecodable(item, "is no PNG image that can be decoded.", cause);
    }
    if (pixels.length !== imageBytes(header, channels))
      throw undecodable(item, "is a PNG image that does not decode to what its header says.");
    into.set(pixels);
  },
};
