/**
 * Files of private keys, in the folder that the command line and the companion share. What they hold is a key's seed, as it
 * is or encrypted; only `cyxcloud key` encrypts.
 */
import { readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { fromBase64 } from "../core/base64.ts";
import { fromHex, toHex } from "../core/bytes.ts";
import { DataStreamError, invalidArgument } from "../core/errors.ts";
import { type KeyPair, keyPairOf } from "../core/trust/ed25519.ts";

/** Folder of signing keys, and of training nodes' keys. */
export type KeyFolder = "keys" | "nodes";
const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;

export interface KeyFile {
  readonly version: 1;
  /** Hexadecimal. */
  readonly public_key: string;
  /** Base64: as it is, or encrypted. */
  readonly seed:
    | string
    | { readonly salt: string; readonly iv: string; readonly tag: string; readonly data: string };
}

/**
 * Opens a training node's key, which nobody types a passphrase for.
 * @param reference name of a node that was registered on this machine, or path of its key file.
 * @throws `not_found`; `data_loss` for a file that is no key of this kind.
 */
export function openNodeKey(reference: string): KeyPair {
  const file = /[/\\]/.test(reference) ? reference : keyFileOf(reference, "nodes");
  const { seed, public_key } = readKeyFile(reference, file);
  const opened = typeof seed === "string" ? fromBase64(seed) : undefined;
  if (opened?.length !== 32 || toHex(keyPairOf(opened).publicKey) !== public_key) throw damagedKey(reference);
  return keyPairOf(opened);
}

/** @throws `not_found`, `data_loss` */
export function readKeyFile(name: string, file: string): KeyFile {
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
  throw damagedKey(name);
}

export function keyFolder(folder: KeyFolder): string {
  return join(homedir(), ".config", "cyxcloud", folder);
}

export function keyFileOf(name: string, folder: KeyFolder): string {
  if (NAME.test(name)) return join(keyFolder(folder), `${name}.json`);
  throw invalidArgument(
    "name",
    "use 1 to 64 letters, digits, '.', '_', '-', beginning with a letter or digit.",
    {
      limit: 64,
    },
  );
}

export function damagedKey(name: string): DataStreamError {
  return new DataStreamError("data_loss", `The file of the key ${name} is damaged.`);
}
