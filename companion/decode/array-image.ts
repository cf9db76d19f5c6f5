import type { ImageCodec, ImageHeader } from "./image-codec.ts";
import { checkedSize, imageBytes } from "./image-codec.ts";
import type { ImageSource } from "./image-source.ts";
import { type EncodedItem, undecodable } from "./item.ts";
import { decodeNpy } from "./npy.ts";
import { npyHeader } from "./npy-header.ts";

/** Images that are stored as arrays of height × width or height × width × channels, to be processed like others. */
export function arrayImageCodec(source: ImageSource): ImageCodec {
  const { encoding, channels, samples, size } = source;
  return {
    sampleTypes: ["uint8", "uint16"],
    channels: [1, 2, 3, 4],
    usualChannels: undefined,
    header(item) {
      if (encoding === "npy") return npyImageHeader(item);
      const [height, width] = size ?? [0, 0];
      const header = checkedSize(item, { height, width, channels, samples });
      const expected = imageBytes(header, channels);
      if (item.bytes.length === expected) return header;
      throw undecodable(
        item,
        `has ${item.bytes.length} bytes; shape ${height}×${width}×${channels} of ${samples} takes ${expected}.`,
      );
    },
    decode(item, _header, _channels, into) {
      if (encoding === "npy") decodeNpy(item, npyHeader(item), into);
      else into.set(item.bytes);
    },
  };
}

function npyImageHeader(item: EncodedItem): ImageHeader {
  const { shape, dtype } = npyHeader(item);
  const [height, width, channels = 1] = shape;
  if (height === undefined || width === undefined || shape.length > 3 || channels > 4)
    throw undecodable(item, `has shape ${shape.join("×")}; an image is height × width (× 1 to 4 channels).`);
  if (dtype !== "uint8" && dtype !== "uint16")
    throw undecodable(item, `is ${dtype}; images have samples of uint8 or uint16.`);
  return checkedSize(item, { height, width, channels, samples: dtype });
}
