/** What a sample of a decoded image becomes in the tensor: a table, since it has 8 or 16 bits. */
import { type CastType, type Processing, sampleStep } from "./steps.ts";

export type SampleType = "uint8" | "uint16";
export type SampleTable = Uint8Array | Uint16Array | Float32Array;

/** The type of the tensor's elements. */
export function elementTypeOf(
  processing: Processing | undefined,
  samples: SampleType,
): SampleType | CastType {
  const otherwise = sampleStep(processing, "normalize") === undefined ? samples : "float32";
  return sampleStep(processing, "cast")?.dtype ?? otherwise;
}

/**
 * The element for every sample of a channel, float16 and bfloat16 as raw bits; undefined where samples stay as they
 * are. Real numbers are computed in double precision as (v / greatest − mean) / std and rounded once, to nearest,
 * ties to even.
 */
export function sampleTable(
  processing: Processing | undefined,
  samples: SampleType,
  channel: number,
): SampleTable | undefined {
  const type = elementTypeOf(processing, samples);
  if (type === samples) return undefined;
  const greatest = samples === "uint8" ? 0xff : 0xffff;
  if (type === "uint8")
    return Uint8Array.from({ length: greatest + 1 }, (_, v) =>
      Math.floor((2 * v * 255 + greatest) / (2 * greatest)),
    );
  const normalize = sampleStep(processing, "normalize");
  const mean = pick(normalize?.mean ?? [0], channel);
  const std = pick(normalize?.std ?? [1], channel);
  const value = (v: number): number => (v / greatest - mean) / std;
  const length = greatest + 1;
  if (type === "float32") return Float32Array.from({ length }, (_, v) => value(v));
  const bits = type === "float16" ? float16Bits : bfloat16Bits;
  return Uint16Array.from({ length }, (_, v) => bits(value(v)));
}

export function float16Bits(value: number): number {
  return halfBits(value, 10, 15);
}

export function bfloat16Bits(value: number): number {
  return halfBits(value, 7, 127);
}

function pick(values: readonly number[], channel: number): number {
  return (values.length === 1 ? values[0] : values[channel]) as number;
}

const double = new DataView(new ArrayBuffer(8));

/** A finite double in 16 bits: sign, exponent, `fraction` bits; what is too large becomes infinity. */
function halfBits(value: number, fraction: number, bias: number): number {
  double.setFloat64(0, value);
  const top = double.getUint16(0);
  const exponent = Math.max(((top >>> 4) & 0x7ff) - 1023, 1 - bias);
  // Dividing by a power of two is exact; a quotient of 2^(fraction + 1) carries into the exponent as it should.
  const quotient = roundToEven(Math.abs(value) / 2 ** (exponent - fraction));
  const infinity = (2 * bias + 1) * 2 ** fraction;
  const bits = Math.min((exponent + bias - 1) * 2 ** fraction + quotient, infinity);
  return bits | (top & 0x8000);
}

function roundToEven(value: number): number {
  const down = Math.floor(value);
  const rest = value - down;
  return rest > 0.5 || (rest === 0.5 && down % 2 === 1) ? down + 1 : down;
}
