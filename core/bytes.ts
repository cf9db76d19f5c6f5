/** Small helpers over byte arrays: little-endian integers, hexadecimal, comparison. */

const HIGH = 2 ** 32;

/**
 * Writes a 64-bit unsigned integer, little-endian.
 * @param value a non-negative safe integer; nothing else is checked here.
 */
export function writeU64(view: DataView, offset: number, value: number): void {
  view.setUint32(offset, value >>> 0, true);
  view.setUint32(offset + 4, Math.floor(value / HIGH), true);
}

/** Reads a little-endian u64; undefined when it is above 2^53 − 1 and would lose digits. */
export function readU64(view: DataView, offset: number): number | undefined {
  const value = view.getUint32(offset + 4, true) * HIGH + view.getUint32(offset, true);
  return value <= Number.MAX_SAFE_INTEGER ? value : undefined;
}

/** A view over exactly the bytes of `bytes`. */
export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

const DIGITS: readonly string[] = Array.from({ length: 256 }, (_, byte) =>
  byte.toString(16).padStart(2, "0"),
);

/** Lowercase hexadecimal. */
export function toHex(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += DIGITS[byte];
  return text;
}

/** What a character code says in hexadecimal, or -1. */
const NIBBLES: Int8Array = new Int8Array(256).fill(-1);
for (let nibble = 0; nibble < 16; nibble++) {
  const digit = nibble.toString(16);
  NIBBLES[digit.charCodeAt(0)] = NIBBLES[digit.toUpperCase().charCodeAt(0)] = nibble;
}

/** Bytes of hexadecimal text in either case; undefined when it is not hexadecimal. `from` skips a prefix. */
export function fromHex(text: string, from: number = 0): Uint8Array<ArrayBuffer> | undefined {
  if ((text.length - from) % 2 !== 0) return undefined;
  const bytes = new Uint8Array((text.length - from) / 2);
  for (let i = 0, at = from; i < bytes.length; i++, at += 2) {
    const high = text.charCodeAt(at);
    const low = text.charCodeAt(at + 1);
    if ((high | low) > 255) return undefined;
    const byte = ((NIBBLES[high] as number) << 4) | (NIBBLES[low] as number);
    if (byte < 0) return undefined;
    bytes[i] = byte;
  }
  return bytes;
}

export function concatBytes(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  let length = 0;
  for (const part of parts) length += part.length;
  const whole = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** Whether two arrays hold the same bytes. Not constant-time: use it for public hashes, never for secrets. */
export function equalBytes(left: Uint8Array, right: Uint8Array): boolean {
  if (left.length !== right.length) return false;
  for (let i = 0; i < left.length; i++) if (left[i] !== right[i]) return false;
  return true;
}

/** Lexicographic order of unsigned bytes; a prefix comes first. */
export function compareBytes(left: Uint8Array, right: Uint8Array): number {
  const length = Math.min(left.length, right.length);
  for (let i = 0; i < length; i++) {
    const difference = (left[i] as number) - (right[i] as number);
    if (difference !== 0) return difference;
  }
  return left.length - right.length;
}
