import { DataStreamError } from "../../core/errors.ts";

/** An item to decode; the path is for error messages. */
export interface EncodedItem {
  readonly path: string;
  readonly bytes: Uint8Array;
}

/** What is wrong with an item, after its path. */
export function undecodable(item: EncodedItem, message: string, cause?: unknown): DataStreamError {
  return new DataStreamError("invalid_argument", `${item.path}: ${message}`, {
    details: { field: item.path },
    ...(cause === undefined ? {} : { cause }),
  });
}
