import { viewOf } from "../../core/bytes.ts";
import type { DataType } from "../../core/dataset/schema.ts";
import { NPY_HEADER_MAX_BYTES, TENSOR_MAX_DIMENSIONS } from "../../core/limits.ts";
import { elementBytes } from "../tensor.ts";
import { type EncodedItem, undecodable } from "./item.ts";

/** An array in an npy file. */
export interface NpyHeader {
  readonly shape: readonly number[];
  readonly dtype: DataType;
  readonly bigEndian: boolean;
  /** First dimension fastest. */
  readonly fortranOrder: boolean;
  /** Where the elements begin. */
  readonly dataOffset: number;
}

const MAGIC: readonly number[] = [0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59];

/** NumPy's type codes without the byte order. It has no bfloat16: `ml_dtypes` stores it as two bytes of nothing known. */
const TYPES: Readonly<Record<string, DataType>> = {
  b1: "bool",
  u1: "uint8",
  i1: "int8",
  u2: "uint16",
  i2: "int16",
  u4: "uint32",
  i4: "int32",
  u8: "uint64",
  i8: "int64",
  f2: "float16",
  f4: "float32",
  f8: "float64",
  V2: "bfloat16",
};

const DESCRIPTION = /'descr'\s*:\s*'([<>|=])([a-zA-Z]\d+)'/;
const FORTRAN = /'fortran_order'\s*:\s*(True|False)/;
const SHAPE = /'shape'\s*:\s*\(((?:\s*\d{1,15}\s*,?)*)\s*\)/;

/** The header of format 1.0, 2.0 or 3.0 (numpy.lib.format); checks that the file holds all elements and no more. */
export function npyHeader(item: EncodedItem): NpyHeader {
  const { bytes } = item;
  const view = viewOf(bytes);
  if (bytes.length < 12 || MAGIC.some((byte, i) => bytes[i] !== byte))
    throw undecodable(item, "is no npy file.");
  const major = view.getUint8(6);
  if (major < 1 || major > 3 || view.getUint8(7) !== 0)
    throw undecodable(item, `is npy format ${major}.${view.getUint8(7)}; 1.0, 2.0 and 3.0 are decoded.`);
  const start = major === 1 ? 10 : 12;
  const length = major === 1 ? view.getUint16(8, true) : view.getUint32(8, true);
  if (length > NPY_HEADER_MAX_BYTES || start + length > bytes.length)
    throw undecodable(item, "is an npy file that ends in its header.");
  const header = {
    ...parse(item, new TextDecoder().decode(bytes.slice(start, start + length))),
    dataOffset: start + length,
  };
  const expected = header.shape.reduce((product, side) => product * side, elementBytes(header.dtype));
  const present = bytes.length - header.dataOffset;
  if (expected !== present)
    throw undecodable(
      item,
      `has ${present} bytes of elements; shape ${header.shape.join("×")} of ${header.dtype} takes ${expected}.`,
    );
  return header;
}

/** The header is a Python dictionary with three keys; nothing of Python but these is understood. */
function parse(item: EncodedItem, text: string): Omit<NpyHeader, "dataOffset"> {
  const [, order, code] = DESCRIPTION.exec(text) ?? [];
  const fortran = FORTRAN.exec(text)?.[1];
  const sides = SHAPE.exec(text)?.[1];
  const dtype = code === undefined ? undefined : TYPES[code];
  if (dtype === undefined)
    throw undecodable(item, "is an npy file of elements that no tensor has, such as records or objects.");
  if (fortran === undefined || sides === undefined)
    throw undecodable(item, "is an npy file whose header does not tell shape and order.");
  const shape = sides
    .split(",")
    .map((side) => side.trim())
    .filter(Boolean)
    .map(Number);
  if (shape.length > TENSOR_MAX_DIMENSIONS)
    throw undecodable(item, `has ${shape.length} dimensions; ${TENSOR_MAX_DIMENSIONS} are allowed.`);
  if (shape.includes(0)) throw undecodable(item, `has no elements: its shape is ${shape.join("×")}.`);
  return { shape, dtype, bigEndian: order === ">", fortranOrder: fortran === "True" };
}
