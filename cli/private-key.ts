/**
 * Private keys, of users who sign and of training nodes, as files of whom they belong to. A key leaves its file only into this process's memory.
 *
 * A passphrase encrypts the seed with AES-256-GCM under a key that scrypt (RFC 7914) derives; the public key is
 * authenticated with it, so a file cannot be given another one.
 */
import { createCipheriv, createDecipheriv, randomBytes, scryptSync } from "node:crypto";
import { chmodSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { fromBase64, toBase64 } from "../core/base64.ts";
import { equalBytes, fromHex, toHex } from "../core/bytes.ts";
import { DataStreamError, invalidArgument } from "../core/errors.ts";
import { type KeyPair, keyPairOf } from "../core/trust/ed25519.ts";

/** Folder of signing keys, and of training nodes' keys. */
export type KeyFolder = "keys" | "nodes";
const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;
/** 128 MiB and about half a second for each guess. */
const SCRYPT = { N: 2 ** 17, r: 8, p: 1, maxmem: 2 ** 28 } as const;

interface KeyFile {
  readonly version: 1;
  /** Hexadecimal. */
  readonly public_key: string;
  /** Base64: as it is, or encrypted. */
  readonly seed:
    | string
    | { readonly salt: string; readonly iv: string; readonly tag: string; readonly data: string };
}

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
  const file = fileOf(name, folder);
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
    names = readdirSync(folderOf(folder));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
  return names
    .filter((name) => name.endsWith(".json"))
    .map((name) => name.slice(0, -".json".length))
    .toSorted()
    .map((name) => {
      const file = fileOf(name, folder);
      const { public_key: publicKey, seed } = read(name, file);
      return { name, file, publicKey, encrypted: typeof seed !== "string" };
    });
}

/**
 * Opens a key.
 * @param passphrase asked only where the key is encrypted.
 * @throws `not_found`; `permission_denied` for a wrong passphrase.
 */
export async function openKey(name: string, passphrase: () => Promise<string>): Promise<KeyPair> {
  const { seed, public_key } = read(name, fileOf(name, "keys"));
  const publicKey = fromHex(public_key) ?? new Uint8Array();
  const opened = typeof seed === "string" ? fromBase64(seed) : decrypt(seed, publicKey, await passphrase());
  if (opened === undefined)
    throw new DataStreamError("permission_denied", `passphrase: it does not open the key ${name}.`, {
      details: { field: "passphrase" },
    });
  if (opened.length !== 32) throw damaged(name);
  const key = keyPairOf(opened);
  if (equalBytes(key.publicKey, publicKey)) return key;
  throw damaged(name);
}

/**
 * Opens a training node's key, which nobody types a passphrase for.
 * @param reference name of a node that was registered on this machine, or path of its key file.
 * @throws `not_found`; `data_loss` for a file that is no key of this kind.
 */
export function openNodeKey(reference: string): KeyPair {
  const file = /[/\\]/.test(reference) ? reference : fileOf(reference, "nodes");
  const { seed, public_key } = read(reference, file);
  const opened = typeof seed === "string" ? fromBase64(seed) : undefined;
  if (opened?.length !== 32 || toHex(keyPairOf(opened).publicKey) !== public_key) throw damaged(reference);
  return keyPairOf(opened);
}

export function deleteKey(name: string, folder: KeyFolder = "keys"): void {
  rmSync(fileOf(name, folder));
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

function read(name: string, file: string): KeyFile {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    throw new DataStreamError(
      "not_found",
      `There is no key ${name} on this machine. Create one with: cyxcloud key create, or for a training node: ` +
        "cyxcloud node register",
      { details: { field: "key" } },
    );
  }
  try {
    const content = JSON.parse(text) as Partial<KeyFile>;
    if (
      content.version === 1 &&
      fromHex(content.public_key ?? "")?.length === 32 &&
      content.seed !== undefined
    )
      return content as KeyFile;
  } catch {
    // The parser's own message would quote the key.
  }
  throw damaged(name);
}

function folderOf(folder: KeyFolder): string {
  return join(homedir(), ".config", "cyxcloud", folder);
}

function fileOf(name: string, folder: KeyFolder): string {
  if (NAME.test(name)) return join(folderOf(folder), `${name}.json`);
  throw invalidArgument(
    "name",
    "use 1 to 64 letters, digits, '.', '_', '-', beginning with a letter or digit.",
    {
      limit: 64,
    },
  );
}

function damaged(name: string): DataStreamError {
  return new DataStreamError("data_loss", `The file of the key ${name} is damaged.`);
}

/** Name of the one key of this machine. @throws `invalid_argument` where there is none, or several. */
export function onlyKey(): string {
  const [key, ...others] = storedKeys();
  if (key !== undefined && others.length === 0) return key.name;
  throw key === undefined
    ? invalidArgument("key", "there is none on this machine. Create one with: cyxcloud key create NAME")
    : invalidArgument("key", `name one with --key: ${[key, ...others].map(({ name }) => name).join(", ")}.`);
}
