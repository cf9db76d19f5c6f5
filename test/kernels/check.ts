/** Assertions without a test runner, so that the same cases run inside workerd. */

export function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export function equal(actual: unknown, expected: unknown, what: string): void {
  if (actual !== expected) throw new Error(`${what}: ${String(actual)} instead of ${String(expected)}`);
}

export function equalBytes(actual: Uint8Array, expected: Uint8Array, what: string): void {
  if (actual.length !== expected.length) equal(actual.length, expected.length, `${what}, length`);
  const at = actual.findIndex((byte, i) => byte !== expected[i]);
  if (at >= 0) equal(actual[at], expected[at], `${what}, byte ${at}`);
}

/** `action` must throw an error with this code of DataStreamError. */
export function refused(action: () => unknown, code: string, what: string): void {
  let thrown: unknown;
  try {
    action();
  } catch (error) {
    thrown = error;
  }
  equal((thrown as { code?: unknown } | undefined)?.code, code, what);
}

/** Pseudo-random bytes that depend on `seed` alone (xorshift32). */
export function noise(length: number, seed: number): Uint8Array<ArrayBuffer> {
  let state = (seed * 2654435761 + 1) >>> 0 || 1;
  return Uint8Array.from({ length }, () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state;
  });
}
