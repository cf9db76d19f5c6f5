import type { DatasetSchema } from "../../core/dataset/schema.ts";
import { invalidArgument } from "../../core/errors.ts";
import type { ItemFormat } from "../tensor.ts";
import { PngDecoder } from "./png.ts";
import { RawDecoder } from "./raw.ts";

/** An item to decode; the path is for error messages. */
export interface EncodedItem {
  readonly path: string;
  readonly bytes: Uint8Array;
}

/** Turns items of one dataset into equally shaped tensors. */
export interface Decoder {
  /** What every item decodes to. The first item fixes it where the schema leaves it open. */
  format(first: EncodedItem): ItemFormat;
  /**
   * Decodes into exactly the item's bytes of a tensor.
   * @throws DataStreamError `invalid_argument` naming the path, for an item that does not decode or has
   *   another shape than the rest.
   */
  decode(item: EncodedItem, format: ItemFormat, into: Uint8Array): void;
}

/** @throws DataStreamError `invalid_argument` for a format that cannot become a tensor here. */
export function decoderFor(schema: DatasetSchema): Decoder {
  switch (schema.format) {
    case "png":
      return new PngDecoder(schema);
    case "raw":
      return new RawDecoder(schema);
    default:
      throw invalidArgument(
        "schema.format",
        `is ${schema.format}; the companion decodes png and raw. Stream the bytes instead.`,
      );
  }
}
