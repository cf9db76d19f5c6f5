/** Other spellings of the same signature. */
/** Order of the group of Ed25519. */
const L = 2n ** 252n + 27742317777372353535851937790883648493n;

/** S plus the group order, which a lax verifier takes for the same S. */
export function plusOrder(signature: Uint8Array): Uint8Array {
  let s = signature.subarray(32).reduceRight((value, byte) => (value << 8n) | BigInt(byte), 0n) + L;
  return signature.map((byte, at) => {
    if (at < 32) return byte;
    const digit = Number(s & 0xffn);
    s >>= 8n;
    return digit;
  });
}

/** 64 bytes are 86 characters, the last of which has four bits to spare. */
export function spareBits(token: string): string {
  const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  return token.slice(0, -1) + (digits[digits.indexOf(token.at(-1) as string) ^ 1] as string);
}
