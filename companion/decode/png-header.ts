import { viewOf } from "../../core/bytes.ts";
import { checkedSize, type ImageHeader } from "./image-codec.ts";
import { type EncodedItem, undecodable } from "./item.ts";

const SIGNATURE: readonly number[] = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];
/** Chunk types as big-endian numbers. */
const IHDR = 0x49484452;
const IDAT = 0x49444154;
const TRNS = 0x74524e53;

/** Set in the colour types that have a channel for transparency, and so no `tRNS` chunk. */
const ALPHA = 4;
/** By the header's colour type: channels as stored, and the bit depths that the standard allows. */
const COLOUR_TYPES: Readonly<
  Record<number, { readonly channels: number; readonly depths: readonly number[] }>
> = {
  0: { channels: 1, depths: [1, 2, 4, 8, 16] },
  2: { channels: 3, depths: [8, 16] },
  3: { channels: 3, depths: [1, 2, 4, 8] },
  4: { channels: 2, depths: [8, 16] },
  6: { channels: 4, depths: [8, 16] },
};

/**
 * What a PNG image (https://www.w3.org/TR/png-3/) decodes to: colours instead of palettes, a channel more where a
 * `tRNS` chunk makes some of them transparent, 8 bits or 16.
 */
export function pngHeader(item: EncodedItem): ImageHeader {
  const { bytes } = item;
  const view = viewOf(bytes);
  if (bytes.length < 33 || SIGNATURE.some((byte, i) => bytes[i] !== byte) || view.getUint32(12) !== IHDR)
    throw undecodable(item, "is no PNG image.");
  const depth = view.getUint8(24);
  const type = view.getUint8(25);
  const colour = COLOUR_TYPES[type];
  if (colour === undefined || !colour.depths.includes(depth))
    throw undecodable(item, `is a PNG image of colour type ${type} and ${depth} bits.`);
  return checkedSize(item, {
    height: view.getUint32(20),
    width: view.getUint32(16),
    channels: colour.channels + ((type & ALPHA) === 0 && isTransparent(view) ? 1 : 0),
    samples: depth === 16 ? "uint16" : "uint8",
  });
}

/** Whether a `tRNS` chunk stands before the pixels. */
function isTransparent(view: DataView): boolean {
  let at = 8;
  while (at + 8 <= view.byteLength) {
    const type = view.getUint32(at + 4);
    if (type === TRNS) return true;
    if (type === IDAT) return false;
    at += 12 + view.getUint32(at);
  }
  return false;
}
