// Steps that the compressions share, on four 32-bit words at once.

// @ts-ignore: decorator
@inline
export function rotate12(v: v128): v128 {
  return v128.or(i32x4.shr_u(v, 12), i32x4.shl(v, 20));
}

// @ts-ignore: decorator
@inline
export function rotate7(v: v128): v128 {
  return v128.or(i32x4.shr_u(v, 7), i32x4.shl(v, 25));
}

/** (x + y) + z: `z` is the operand that is ready last. */
// @ts-ignore: decorator
@inline
export function add3(x: v128, y: v128, z: v128): v128 {
  return i32x4.add(i32x4.add(x, y), z);
}

/** Copies one chaining value. */
// @ts-ignore: decorator
@inline
export function copyValue(to: usize, from: usize): void {
  v128.store(to, v128.load(from));
  v128.store(to, v128.load(from, 16), 16);
}
