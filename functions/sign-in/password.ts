/**
 * Passwords as `scrypt$SALT$HASH` (RFC 7914, base64url) with N = 2^14, r = 8, p = 5, one of the settings that OWASP
 * recommends: 16 MiB of memory, which an isolate has beside its streams.
 */
import { scrypt } from "node:crypto";
import { base64url } from "jose";

const SETTINGS = { N: 2 ** 14, r: 8, p: 5, maxmem: 32 * 1024 * 1024 };
const HASH_BYTES = 32;
const SALT_BYTES = 16;

export async function hashPassword(password: string): Promise<string> {
  const salt = crypto.getRandomValues(new Uint8Array(SALT_BYTES));
  return `scrypt$${base64url.encode(salt)}$${base64url.encode(await derive(password, salt))}`;
}

export async function verifyPassword(stored: {
  readonly hash: string;
  readonly password: string;
}): Promise<boolean> {
  const [scheme, salt = "", hash = ""] = stored.hash.split("$");
  if (scheme !== "scrypt") return false;
  const expected = base64url.decode(hash);
  const derived = await derive(stored.password, base64url.decode(salt));
  return expected.length === derived.length && crypto.subtle.timingSafeEqual(expected, derived);
}

/** Composed characters are one whichever way a keyboard sends them. */
function derive(password: string, salt: Uint8Array): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    scrypt(password.normalize("NFKC"), salt, HASH_BYTES, SETTINGS, (error, key) =>
      error === null ? resolve(new Uint8Array(key)) : reject(error),
    );
  });
}
