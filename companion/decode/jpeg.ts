import jpegTurbo from "@julusian/jpeg-turbo";
import { Transformer } from "@napi-rs/image";
import type { ImageCodec, ImageHeader } from "./image-codec.ts";
import { type EncodedItem, undecodable } from "./item.ts";
import { jpegHeader } from "./jpeg-header.ts";

const CMYK_CHANNELS = 4;

/**
 * JPEG images as height × width × 3 of uint8, RGB, whatever they are stored as: datasets of photographs hold a few in
 * grayscale and CMYK. Where the schema's shape has one channel, as brightness. Pixels are as stored: the orientation
 * in EXIF and colour profiles are not applied, as in torchvision and PIL. An image that libjpeg-turbo has to warn
 * about, such as a truncated one, is refused. Decoded with its fast DCT, within a few levels of the accurate one.
 */
export const jpegCodec: ImageCodec = {
  sampleTypes: ["uint8"],
  channels: [1, 3],
  usualChannels: 3,
  header: jpegHeader,
  decode(item, header, channels, into) {
    if (header.channels === CMYK_CHANNELS) {
      decodeCmyk(item, header, channels, into);
      return;
    }
    const { FORMAT_GRAY, FORMAT_RGB } = jpegTurbo;
    let size: { readonly width: number; readonly height: number };
    try {
      // It checks that the image of the header, as it reads it, fits the buffer.
      size = jpegTurbo.decompressSync(bufferOver(item.bytes), bufferOver(into), {
        format: channels === 1 ? FORMAT_GRAY : FORMAT_RGB,
      });
    } catch (cause) {
      throw undecodable(item, "is no JPEG image that can be decoded without a warning.", cause);
    }
    if (size.width !== header.width || size.height !== header.height)
      throw undecodable(item, "is a JPEG image that says two sizes.");
  },
};

/** libjpeg-turbo makes no RGB of CMYK; of such images there are few, so a slower decoder will do. */
function decodeCmyk(item: EncodedItem, header: ImageHeader, channels: number, into: Uint8Array): void {
  if (channels !== 3) throw undecodable(item, "is a CMYK image in a dataset of grayscale images.");
  let pixels: Uint8Array;
  try {
    pixels = new Transformer(item.bytes).rawPixelsSync();
  } catch (cause) {
    throw undecodable(item, "is no JPEG image that can be decoded.", cause);
  }
  if (pixels.length !== header.height * header.width * channels)
    throw undecodable(item, "is a CMYK image that does not decode to RGB.");
  into.set(pixels);
}

function bufferOver({ buffer, byteOffset, byteLength }: Uint8Array): Buffer {
  return Buffer.from(buffer as ArrayBuffer, byteOffset, byteLength);
}
