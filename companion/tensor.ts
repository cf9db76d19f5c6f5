import type { DataType } from "../core/dataset/schema.ts";

/** Bytes of one element, and how JavaScript sees it. Types without an array of their own are seen as raw bits. */
const ELEMENTS = {
  uint8: { bytes: 1, array: Uint8Array },
  int8: { bytes: 1, array: Int8Array },
  bool: { bytes: 1, array: Uint8Array },
  uint16: { bytes: 2, array: Uint16Array },
  int16: { bytes: 2, array: Int16Array },
  float16: { bytes: 2, array: Uint16Array },
  bfloat16: { bytes: 2, array: Uint16Array },
  uint32: { bytes: 4, array: Uint32Array },
  int32: { bytes: 4, array: Int32Array },
  float32: { bytes: 4, array: Float32Array },
  uint64: { bytes: 8, array: BigUint64Array },
  int64: { bytes: 8, array: BigInt64Array },
  float64: { bytes: 8, array: Float64Array },
} as const satisfies Record<DataType, unknown>;

export type TensorArray =
  | Uint8Array
  | Int8Array
  | Uint16Array
  | Int16Array
  | Uint32Array
  | Int32Array
  | Float32Array
  | BigUint64Array
  | BigInt64Array
  | Float64Array;

/** Order of a tensor's dimensions: N items, height, width, channels (or channels first); or N items and the schema's own dimensions. */
export type TensorLayout = "NHWC" | "NCHW" | "N…";

/** Shape, type and layout of one item; a batch has N before the shape. Little-endian, contiguous. */
export interface ItemFormat {
  readonly shape: readonly number[];
  readonly dtype: DataType;
  readonly layout: TensorLayout;
}

export function elementBytes(dtype: DataType): number {
  return ELEMENTS[dtype].bytes;
}

export function itemBytes(format: ItemFormat): number {
  return format.shape.reduce((product, dimension) => product * dimension, elementBytes(format.dtype));
}

/** Views `byteLength` bytes of a buffer as elements. The offset must be a multiple of the element's size. */
export function tensorArray(
  dtype: DataType,
  buffer: ArrayBufferLike,
  byteOffset: number,
  byteLength: number,
): TensorArray {
  const { array, bytes } = ELEMENTS[dtype];
  return new array(buffer as ArrayBuffer, byteOffset, byteLength / bytes);
}
