/**
 * Text as UTF-8. The pure core has no platform types, so the two encoding classes that
 * every JavaScript runtime has (https://encoding.spec.whatwg.org/) are declared here alone.
 */
declare class TextEncoder {
  encode(text: string): Uint8Array<ArrayBuffer>;
}
declare class TextDecoder {
  constructor(label: string, options: { fatal: boolean; ignoreBOM: boolean });
  decode(bytes: Uint8Array): string;
}

const encoder = new TextEncoder();
// A byte order mark is kept: dropping it would make two different paths equal.
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** UTF-8 bytes of `text`. A lone surrogate becomes U+FFFD: check `text.isWellFormed()` where that matters. */
export function utf8(text: string): Uint8Array<ArrayBuffer> {
  return encoder.encode(text);
}

/** The text of valid UTF-8, or undefined when the bytes are not valid UTF-8. */
export function fromUtf8(bytes: Uint8Array): string | undefined {
  try {
    return decoder.decode(bytes);
  } catch {
    return undefined;
  }
}

/** Whether text can be stored and compared everywhere: valid Unicode without NUL, which databases refuse. */
export function isPlainText(text: string): boolean {
  return text.isWellFormed() && !text.includes("\0");
}

/**
 * Orders well-formed strings as their UTF-8 bytes order, which is by code point. JavaScript's own
 * comparison goes by UTF-16 unit and puts U+1F600 before U+FF21.
 */
export function compareUtf8(left: string, right: string): number {
  const length = Math.min(left.length, right.length);
  for (let i = 0; i < length; i++) {
    const a = left.charCodeAt(i);
    const b = right.charCodeAt(i);
    if (a === b) continue;
    const aSurrogate = a >= 0xd800 && a < 0xe000;
    const bSurrogate = b >= 0xd800 && b < 0xe000;
    if (aSurrogate !== bSurrogate) return aSurrogate ? 1 : -1;
    return a - b;
  }
  return left.length - right.length;
}

/** `value` as JSON text, cut to a length that fits an error message. Control characters come out escaped. */
export function quoted(value: string, maxCharacters: number = 200): string {
  return JSON.stringify(
    value.length > maxCharacters ? `${value.slice(0, maxCharacters).toWellFormed()}…` : value,
  );
}
