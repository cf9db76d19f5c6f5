import type { Processing } from "../../core/augment/steps.ts";
import type { DrawKey } from "../../core/augment/random.ts";
import type { Kernels } from "../../kernels/index.ts";
import { ImagePipeline } from "./image-pipeline.ts";
import { type EncodedItem, undecodable } from "./item.ts";
import { decodeNpy } from "./npy.ts";
import { npyHeader } from "./npy-header.ts";
import type { OutputFormat } from "./output-format.ts";

/** Turns the items of one stream into equally shaped tensors. Its calls never overlap. */
export interface ItemDecoder {
  /**
   * Decodes into exactly the item's bytes of a tensor, or for kind "bytes" into as many as the item has.
   * @param key what random steps draw from.
   * @throws DataStreamError naming the path, for an item that does not decode or has another shape than the rest;
   *   what `into` then holds is not defined.
   */
  decode(item: EncodedItem, key: DrawKey, into: Uint8Array): void;
  /** Gives its kernel memory back; the decoder must not be used again. */
  dispose(): void;
}

/** @throws `resource_exhausted` when kernel memory has no room for its tables. */
export function itemDecoder(
  format: OutputFormat,
  processing: Processing | undefined,
  kernels: Kernels,
): ItemDecoder {
  const { source } = format;
  if (source !== undefined && "samples" in source)
    return new ImagePipeline(kernels, format, source, processing);
  const decode = source?.encoding === "npy" ? decodeArray : copy;
  return {
    decode: (item, _key, into) => decode(item, format, into),
    dispose: () => undefined,
  };
}

function decodeArray(item: EncodedItem, format: OutputFormat, into: Uint8Array): void {
  const header = npyHeader(item);
  const { shape, dtype } = header;
  if (shape.join() !== format.shape.join() || dtype !== format.dtype)
    throw undecodable(
      item,
      `is ${shape.join("×")} of ${dtype}; this batch holds ${format.shape.join("×")} of ${format.dtype}.`,
    );
  decodeNpy(item, header, into);
}

/** Raw tensors, little-endian, last dimension fastest, without a header; and items that stay bytes. */
function copy(item: EncodedItem, format: OutputFormat, into: Uint8Array): void {
  if (item.bytes.byteLength !== into.byteLength)
    throw undecodable(
      item,
      `has ${item.bytes.byteLength} bytes; shape ${format.shape.join("×")} of ${format.dtype} takes ${into.byteLength}.`,
    );
  into.set(item.bytes);
}
