import type { DatasetSchema } from "../../core/dataset/schema.ts";
import { invalidArgument } from "../../core/errors.ts";
import { itemBytes, type ItemFormat } from "../tensor.ts";
import type { Decoder, EncodedItem } from "./decoder.ts";

/** Items that are tensors already: little-endian elements, row-major, no header. */
export class RawDecoder implements Decoder {
  readonly #format: ItemFormat;

  constructor(schema: DatasetSchema) {
    if (schema.shape === undefined || schema.dtype === undefined) {
      throw invalidArgument("schema", "raw items need shape and dtype.");
    }
    this.#format = { shape: schema.shape, dtype: schema.dtype, layout: "N…" };
  }

  format(): ItemFormat {
    return this.#format;
  }

  decode(item: EncodedItem, format: ItemFormat, into: Uint8Array): void {
    if (item.bytes.byteLength !== itemBytes(format)) {
      throw invalidArgument(
        item.path,
        `has ${item.bytes.byteLength} bytes; shape ${format.shape.join("×")} of ${format.dtype} takes ${itemBytes(format)}.`,
      );
    }
    into.set(item.bytes);
  }
}
