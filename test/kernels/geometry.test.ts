import { expect, test } from "vitest";
import { checkGeometry } from "../../kernels/geometry.ts";
import { slowMultiply, slowRows } from "./cases/reed-solomon.ts";

/** Determinant by Laplace expansion; in this field a sign makes no difference. */
function determinant(matrix: readonly (readonly number[])[]): number {
  const [first, ...rest] = matrix;
  if (first === undefined) return 1;
  return first.reduce((sum, value, column) => {
    const minor = rest.map((row) => row.filter((_, i) => i !== column));
    return sum ^ slowMultiply(value, determinant(minor));
  }, 0);
}

function* choices(from: number, count: number, start = 0): Generator<number[]> {
  if (count === 0) {
    yield [];
    return;
  }
  for (let first = start; first <= from - count; first++) {
    for (const rest of choices(from, count - 1, first + 1)) yield [first, ...rest];
  }
}

/** Whether some loss of at most m shards cannot be undone: a square part of the parity rows is singular. */
function hasSingularLoss(k: number, m: number): boolean {
  const rows = slowRows({ k, m });
  for (let size = 1; size <= Math.min(k, m); size++) {
    for (const lines of choices(m, size)) {
      for (const columns of choices(k, size)) {
        const part = lines.map((line) => columns.map((column) => rows[line]?.[column] as number));
        if (determinant(part) === 0) return true;
      }
    }
  }
  return false;
}

test.each([
  [32, 1],
  [32, 2],
  [32, 3],
  [21, 4],
])("%i+%i, the largest allowed with its m, survives every loss", (k, m) => {
  // A smaller k keeps the leading columns, so it survives what these survive.
  expect(() => checkGeometry({ k, m })).not.toThrow();
  expect(() => checkGeometry({ k: k + 1, m })).toThrow("k");
  expect(hasSingularLoss(k, m)).toBe(false);
});

test("22+4 has a loss that cannot be undone", () => {
  expect(hasSingularLoss(22, 4)).toBe(true);
});
