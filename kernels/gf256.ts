/**
 * GF(2^8) modulo 0x11d, and matrices over it, for the small numbers that plan a reconstruction.
 * The bytes of shards go through the kernels instead.
 */

const POLYNOMIAL = 0x11d;

/** Powers of the generator 2, twice over so that sums of logarithms need no reduction. */
const POWERS: Uint8Array = new Uint8Array(510);
const LOGARITHMS: Uint8Array = new Uint8Array(256);
for (let exponent = 0, value = 1; exponent < 255; exponent++) {
  POWERS[exponent] = value;
  POWERS[exponent + 255] = value;
  LOGARITHMS[value] = exponent;
  value <<= 1;
  if (value > 255) value ^= POLYNOMIAL;
}

export function multiply(a: number, b: number): number {
  if (a === 0 || b === 0) return 0;
  return POWERS[(LOGARITHMS[a] as number) + (LOGARITHMS[b] as number)] as number;
}

/** `value` must not be 0. */
export function inverse(value: number): number {
  return POWERS[255 - (LOGARITHMS[value] as number)] as number;
}

/** The generator to the power `exponent` ≥ 0. */
export function power(exponent: number): number {
  return POWERS[exponent % 255] as number;
}

export type Matrix = readonly Uint8Array<ArrayBuffer>[];

export function product(a: Matrix, b: Matrix): Matrix {
  return a.map((row) =>
    Uint8Array.from(b[0] ?? [], (_, column) =>
      row.reduce((sum, factor, i) => sum ^ multiply(factor, b[i]?.[column] ?? 0), 0),
    ),
  );
}

/** Inverse of a square matrix by Gauss-Jordan elimination; undefined when it is singular. */
export function inverted(matrix: Matrix): Matrix | undefined {
  const size = matrix.length;
  const rows = matrix.map((row, r) => {
    const wide = new Uint8Array(2 * size);
    wide.set(row);
    wide[size + r] = 1;
    return wide;
  });
  for (let column = 0; column < size; column++) {
    const pivot = rows.findIndex((row, r) => r >= column && row[column] !== 0);
    const row = rows[pivot];
    if (row === undefined) return undefined;
    rows[pivot] = rows[column] as Uint8Array<ArrayBuffer>;
    rows[column] = row;
    const scale = inverse(row[column] as number);
    row.forEach((value, i) => (row[i] = multiply(value, scale)));
    for (const other of rows) {
      const factor = other[column] as number;
      if (other === row || factor === 0) continue;
      row.forEach((value, i) => (other[i] = (other[i] as number) ^ multiply(factor, value)));
    }
  }
  return rows.map((row) => row.slice(size));
}
