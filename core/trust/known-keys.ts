/**
 * The known-keys file: keys whose signatures its owner accepts, kept apart from any gateway. One key a line, the
 * public key in hexadecimal, then white space and a name; empty lines and lines that begin with # are skipped.
 */
import { fromHex, toHex } from "../bytes.ts";
import { invalidArgument } from "../errors.ts";
import { checkPublicKey } from "./ed25519.ts";

export interface KnownKey {
  readonly publicKey: Uint8Array;
  readonly name: string;
}

/** @throws `invalid_argument` naming the line. */
export function parseKnownKeys(text: string, field: string = "known_keys"): KnownKey[] {
  const keys: KnownKey[] = [];
  for (const [index, line] of text.split(/\r?\n/).entries()) {
    if (line.trim() === "" || line.startsWith("#")) continue;
    const where = `${field} line ${index + 1}`;
    const [, hex = "", name = ""] = /^\s*(\S+)\s+(.*\S)\s*$/.exec(line) ?? [];
    keys.push({ publicKey: parsePublicKey(hex, where), name });
  }
  return keys;
}

export function formatKnownKeys(keys: readonly KnownKey[]): string {
  return keys.map(({ publicKey, name }) => `${toHex(publicKey)} ${name}\n`).join("");
}

/** @throws `invalid_argument` for what is not 64 hexadecimal digits of a sound public key. */
export function parsePublicKey(hex: string, field: string): Uint8Array {
  const publicKey = fromHex(hex);
  if (publicKey?.length !== 32)
    throw invalidArgument(field, "must be an Ed25519 public key as 64 hexadecimal digits.");
  checkPublicKey(publicKey, field);
  return publicKey;
}
