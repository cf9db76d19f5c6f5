import { viewOf } from "../../core/bytes.ts";
import { JPEG_MAX_SCANS } from "../../core/limits.ts";
import { checkedSize, type ImageHeader } from "./image-codec.ts";
import { type EncodedItem, undecodable } from "./item.ts";

// Second bytes of markers (ITU-T T.81, table B.1).
const START_OF_IMAGE = 0xd8;
const START_OF_SCAN = 0xda;
/** Frames that are coded by Huffman's method in eight bits: baseline, extended, progressive. */
const FRAMES: ReadonlySet<number> = new Set([0xc0, 0xc1, 0xc2]);
/** 0xC0 to 0xCF without the tables 0xC4 and 0xCC and the reserved 0xC8: frames of other kinds. */
const OTHER_FRAMES: ReadonlySet<number> = new Set([
  0xc3, 0xc5, 0xc6, 0xc7, 0xc9, 0xca, 0xcb, 0xcd, 0xce, 0xcf,
]);
const PROGRESSIVE = 0xc2;

/**
 * Size and components of a JPEG image (ITU-T T.81). Channels are 1 for grayscale, 3 for colours, 4 for CMYK.
 * Everything else that the file says about itself (EXIF, colour profiles) is passed over.
 */
export function jpegHeader(item: EncodedItem): ImageHeader {
  const { bytes } = item;
  const view = viewOf(bytes);
  if (bytes.length < 4 || view.getUint16(0) !== 0xff00 + START_OF_IMAGE)
    throw undecodable(item, "is no JPEG image.");
  let at = 2;
  for (;;) {
    // Any number of 0xFF may stand before a marker.
    while (bytes[at] === 0xff && bytes[at + 1] === 0xff) at++;
    const marker = bytes[at + 1];
    if (bytes[at] !== 0xff || marker === undefined || marker === START_OF_SCAN || at + 4 > bytes.length)
      throw undecodable(item, "is a JPEG image without a frame header.");
    if (OTHER_FRAMES.has(marker))
      throw undecodable(
        item,
        `is a JPEG image of a kind that is not decoded (marker ${marker.toString(16)}).`,
      );
    const length = view.getUint16(at + 2);
    if (FRAMES.has(marker)) {
      if (length < 8 || at + 2 + length > bytes.length)
        throw undecodable(item, "is a JPEG image that ends in its frame header.");
      return frame(item, at, marker);
    }
    at += 2 + Math.max(2, length);
  }
}

function frame(item: EncodedItem, at: number, marker: number): ImageHeader {
  const view = viewOf(item.bytes);
  const precision = view.getUint8(at + 4);
  if (precision !== 8)
    throw undecodable(item, `is a JPEG image of ${precision} bits a sample; 8 are decoded.`);
  const channels = view.getUint8(at + 9);
  if (channels !== 1 && channels !== 3 && channels !== 4)
    throw undecodable(item, `is a JPEG image of ${channels} components; 1, 3 and 4 are decoded.`);
  if (marker === PROGRESSIVE) checkScans(item, at);
  return checkedSize(item, {
    height: view.getUint16(at + 5),
    width: view.getUint16(at + 7),
    channels,
    samples: "uint8",
  });
}

/** Thousands of empty scans fit a small file, and each is a pass over the whole image. */
function checkScans(item: EncodedItem, from: number): void {
  const { bytes } = item;
  let scans = 0;
  for (let at = bytes.indexOf(0xff, from); at >= 0; at = bytes.indexOf(0xff, at + 1)) {
    if (bytes[at + 1] === START_OF_SCAN && ++scans > JPEG_MAX_SCANS)
      throw undecodable(item, `is a JPEG image of more than ${JPEG_MAX_SCANS} scans.`);
  }
}
