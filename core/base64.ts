/**
 * Base64 (RFC 4648, section 4) with padding. The pure core has no platform types, so the two functions that every
 * JavaScript runtime has (https://html.spec.whatwg.org/#atob) are declared here alone.
 */
declare function atob(text: string): string;
declare function btoa(binary: string): string;

export function toBase64(bytes: Uint8Array): string {
  let binary = "";
  for (const byte of bytes) binary += String.fromCharCode(byte);
  return btoa(binary);
}

/** Bytes of the one spelling that `toBase64` gives them; undefined for any other text. */
export function fromBase64(text: string): Uint8Array<ArrayBuffer> | undefined {
  let binary: string;
  try {
    binary = atob(text);
  } catch {
    return undefined;
  }
  const bytes = Uint8Array.from(binary, (character) => character.charCodeAt(0));
  return toBase64(bytes) === text ? bytes : undefined;
}
