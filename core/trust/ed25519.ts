/**
 * Ed25519 (RFC 8032) as every surface uses it: one verifier, stricter than the RFC, so that no two of them can
 * disagree about a signature.
 *
 * Beyond a canonical S below the group order, points must be canonically encoded and of the prime order: small-order
 * and mixed-order keys and commitments are refused. Among such points the cofactored and the cofactorless equation
 * are the same, and no signature verifies under two keys or for two messages.
 */
import { getPublicKey, hashes, Point, sign as signMessage, verify as verifyMessage } from "@noble/ed25519";
import { sha512 } from "@noble/hashes/sha2.js";
import { invalidArgument } from "../errors.ts";

hashes.sha512 = sha512;

export const PUBLIC_KEY_BYTES: number = 32;
export const SIGNATURE_BYTES: number = 64;

/** A private key as its 32-byte seed, with the public key that belongs to it. */
export interface KeyPair {
  readonly seed: Uint8Array;
  readonly publicKey: Uint8Array;
}

/** @param seed 32 bytes of a cryptographic random source; it is the private key. */
export function keyPairOf(seed: Uint8Array): KeyPair {
  return { seed, publicKey: getPublicKey(seed) };
}

/** Deterministic: the same key and message always give the same 64 bytes. */
export function sign(message: Uint8Array, { seed }: KeyPair): Uint8Array {
  return signMessage(message, seed);
}

/** Whether `publicKey` signed `message`. Never throws: a malformed key or signature is one that does not verify. */
export function verify(signature: Uint8Array, message: Uint8Array, publicKey: Uint8Array): boolean {
  if (signature.length !== SIGNATURE_BYTES) return false;
  if (!isPrimeOrderPoint(publicKey) || !isPrimeOrderPoint(signature.subarray(0, 32))) return false;
  try {
    return verifyMessage(signature, message, publicKey, { zip215: false });
  } catch {
    return false;
  }
}

/** @throws `invalid_argument` for what is not a canonical encoding of a point of the prime order. */
export function checkPublicKey(publicKey: Uint8Array, field: string): void {
  if (isPrimeOrderPoint(publicKey)) return;
  throw invalidArgument(
    field,
    "is no sound Ed25519 public key: it must be the canonical encoding of a point of the prime order. Create a new key.",
  );
}

function isPrimeOrderPoint(encoded: Uint8Array): boolean {
  if (encoded.length !== PUBLIC_KEY_BYTES) return false;
  try {
    const point = Point.fromBytes(encoded);
    return !point.is0() && point.isTorsionFree();
  } catch {
    return false;
  }
}
