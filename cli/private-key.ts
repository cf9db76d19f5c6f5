/**
 * Private keys, of users who sign and of training nodes, as files of whom they belong to. A key leaves its file only into this process's memory.
 *
 * A passphrase encrypts the seed with AES-256-GCM under a key that scrypt (RFC 7914) derives; the public key is
 * authenticated with it, so a file cannot be given another one.
 */
import { createCipheriv, createDecipheriv, randomBytes, scryptSync } from "node:crypto";
import { chmodSync, mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import {
  damagedKey,
  keyFileOf,
  keyFolder,
  readKeyFile,
  type KeyFile,
  type KeyFolder,
} from "../companion/key-file.ts";
import { fromBase64, toBase64 } from "../core/base64.ts";
import { equalBytes, fromHex, toHex } from "../core/bytes.ts";
import { DataStreamError, invalidArgument } from "../core/errors.ts";
import { type KeyPair, keyPairOf } from "../core/trust/ed25519.ts";

/** 128 MiB and about half a second for each guess. */
const SCRYPT = { N: 2 ** 17, r: 8, p: 1, maxmem: 2 ** 28 } as const;

/** A key of this machine, still closed. */
export interface StoredKey {
  readonly name: string;
  readonly file: string;
  /** Hexadecimal. */
  readonly publicKey: string;
  readonly encrypted: boolean;
}

/**
 * Creates a key in a new file that its owner alone may read.
 * @param passphrase empty: the seed is stored as it is.
 * @throws `already_exists`: a file is never written over.
 */
export function createKey(
  name: string,
  passphrase: string,
  folder: KeyFolder = "keys",
): { readonly key: KeyPair; readonly stored: StoredKey } {
  const file = keyFileOf(name, folder);
  const key = keyPairOf(new Uint8Array(randomBytes(32)));
  const content: KeyFile = {
    version: 1,
    public_key: toHex(key.publicKey),
    seed: passphrase === "" ? toBase64(key.seed) : encrypt(key, passphrase),
  };
  mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
  try {
    writeFileSync(file, `${JSON.stringify(content, undefined, 2)}\n`, { flag: "wx", mode: 0o600 });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    throw new DataStreamError(
      "already_exists",
      `There is a key ${name} on this machine. Choose another name.`,
      {
        details: { field: "name" },
      },
    );
  }
  chmodSync(file, 0o600); // whatever the umask says
  return { key, stored: { name, file, publicKey: content.public_key, encrypted: passphrase !== "" } };
}

/** The keys of this machine by name. */
export function storedKeys(folder: KeyFolder = "keys"): readonly StoredKey[] {
  let names: string[];
  try {
    names = readdirSync(keyFolder(folder));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
  return names
    .filter((name) => name.endsWith(".json"))
    .map((name) => name.slice(0, -".json".length))
    .toSorted()
    .map((name) => {
      const file = keyFileOf(name, folder);
      const { public_key: publicKey, seed } = readKeyFile(name, file);
      return { name, file, publicKey, encrypted: typeof seed !== "string" };
    });
}

/**
 * Opens a key.
 * @param passphrase asked only where the key is encrypted.
 * @throws `not_found`; `permission_denied` for a wrong passphrase.
 */
export async function openKey(name: string, passphrase: () => Promise<string>): Promise<KeyPair> {
  const { seed, public_key } = readKeyFile(name, keyFileOf(name, "keys"));
  const publicKey = fromHex(public_key) ?? new Uint8Array();
  const opened = typeof seed === "string" ? fromBase64(seed) : decrypt(seed, publicKey, await passphrase());
  if (opened === undefined)
    throw new DataStreamError("permission_denied", `passphrase: it does not open the key ${name}.`, {
      details: { field: "passphrase" },
    });
  if (opened.length !== 32) throw damagedKey(name);
  const key = keyPairOf(opened);
  if (equalBytes(key.publicKey, publicKey)) return key;
  throw damagedKey(name);
}

export function deleteKey(name: string, folder: KeyFolder = "keys"): void {
  rmSync(keyFileOf(name, folder));
}

function encrypt({ seed, publicKey }: KeyPair, passphrase: string): KeyFile["seed"] {
  const salt = randomBytes(16);
  const iv = randomBytes(12);
  const cipher = createCipheriv("aes-256-gcm", scryptSync(passphrase, salt, 32, SCRYPT), iv);
  cipher.setAAD(publicKey);
  const data = Buffer.concat([cipher.update(seed), cipher.final()]);
  return {
    salt: salt.toString("base64"),
    iv: iv.toString("base64"),
    tag: cipher.getAuthTag().toString("base64"),
    data: data.toString("base64"),
  };
}

/** Undefined when the passphrase is wrong, or the file was changed. */
function decrypt(
  { salt, iv, tag, data }: Exclude<KeyFile["seed"], string>,
  publicKey: Uint8Array,
  passphrase: string,
): Uint8Array | undefined {
  const bytes = (text: string): Buffer => Buffer.from(text, "base64");
  try {
    const secret = scryptSync(passphrase, bytes(salt), 32, SCRYPT);
    const decipher = createDecipheriv("aes-256-gcm", secret, bytes(iv), { authTagLength: 16 });
    decipher.setAAD(publicKey);
    decipher.setAuthTag(bytes(tag));
    return new Uint8Array(Buffer.concat([decipher.update(bytes(data)), decipher.final()]));
  } catch {
    return undefined;
  }
}

/** Name of the one key of this machine. @throws `invalid_argument` where there is none, or several. */
export function onlyKey(): string {
  const [key, ...others] = storedKeys();
  if (key !== undefined && others.length === 0) return key.name;
  throw key === undefined
    ? invalidArgument("key", "there is none on this machine. Create one with: cyxcloud key create NAME")
    : invalidArgument("key", `name one with --key: ${[key, ...others].map(({ name }) => name).join(", ")}.`);
}
