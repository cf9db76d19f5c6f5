import { elementBytes } from "../tensor.ts";
import type { EncodedItem } from "./item.ts";
import type { NpyHeader } from "./npy-header.ts";

/**
 * Writes the elements of an npy file as a tensor has them: little-endian, last dimension fastest. `into` has exactly
 * their bytes, and `header` is the item's.
 */
export function decodeNpy(item: EncodedItem, header: NpyHeader, into: Uint8Array): void {
  const data = item.bytes.subarray(header.dataOffset);
  const size = elementBytes(header.dtype);
  if (header.fortranOrder && header.shape.length > 1) transpose(data, header.shape, size, into);
  else into.set(data);
  if (header.bigEndian && size > 1) swapBytes(into, size);
}

/** Copies element by element in the order of `into`, stepping through `data` with an odometer of indices. */
function transpose(data: Uint8Array, shape: readonly number[], size: number, into: Uint8Array): void {
  const strides: number[] = [];
  let stride = size;
  for (const side of shape) {
    strides.push(stride);
    stride *= side;
  }
  const index = shape.map(() => 0);
  let from = 0;
  for (let to = 0; to < into.length; to += size) {
    for (let byte = 0; byte < size; byte++) into[to + byte] = data[from + byte] as number;
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      from += strides[axis] as number;
      if (++(index[axis] as number) < (shape[axis] as number)) break;
      index[axis] = 0;
      from -= (strides[axis] as number) * (shape[axis] as number);
    }
  }
}

function swapBytes(bytes: Uint8Array, size: number): void {
  for (let at = 0; at < bytes.length; at += size) bytes.subarray(at, at + size).reverse();
}
