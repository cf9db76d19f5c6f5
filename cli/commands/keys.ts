import { mkdirSync, renameSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import type { Command } from "commander";
import type { KnownKeyEntry, KnownKeyScope, SigningKey } from "../../client/keys.ts";
import { readKnownKeys } from "../../companion/known-keys-file.ts";
import { toHex } from "../../core/bytes.ts";
import { DataStreamError } from "../../core/errors.ts";
import { formatKnownKeys, parsePublicKey } from "../../core/trust/known-keys.ts";
import { contextOf, KNOWN_KEYS_FILE } from "../context.ts";
import { fields, time } from "../output.ts";
import { choosePassphrase } from "../passphrase.ts";
import { createKey, deleteKey, storedKeys } from "../private-key.ts";

/** `key` and `known-key`. */
export function registerKeys(program: Command): void {
  const key = program.command("key").description("Your signing keys; private keys stay on this machine");
  registerCreate(key);
  registerList(key);
  registerRevoke(key);
  const known = program.command("known-key").description("Keys whose signatures you accept");
  registerAddKnown(known);
  registerListKnown(known);
  registerRemoveKnown(known);
}

function registerCreate(key: Command): void {
  key
    .command("create")
    .description("Create a signing key here and register its public half")
    .argument("<name>")
    .option("--passphrase", "encrypt the private key; asked for, or CYXCLOUD_KEY_PASSPHRASE")
    .action(async (name: string, options: { passphrase?: boolean }, command: Command) => {
      const { client, output } = contextOf(command);
      const passphrase = options.passphrase === true ? await choosePassphrase() : "";
      const { key: created, stored } = createKey(name, passphrase);
      let registered: SigningKey;
      try {
        registered = await client.keys.register(name, created);
      } catch (error) {
        deleteKey(name); // a key that nobody can know is of no use
        throw error;
      }
      output.result({ ...registered, file: stored.file, encrypted: stored.encrypted }, () =>
        fields(`Key created: ${name}`, {
          "Public key": registered.public_key,
          File: `${stored.file}${stored.encrypted ? " (encrypted)" : ""}`,
          Id: registered.id,
        }),
      );
    });
}

function registerList(key: Command): void {
  key
    .command("list")
    .description("List your registered keys, and which of them are on this machine")
    .action(async (_options: unknown, command: Command) => {
      const { client, output } = contextOf(command);
      const here = new Map(storedKeys().map((each) => [each.publicKey, each]));
      const keys: (SigningKey & { file: string | null })[] = [];
      for await (const each of client.keys.list())
        keys.push({ ...each, file: here.get(each.public_key)?.file ?? null });
      await output.list("keys", keys, ["NAME", "PUBLIC KEY", "CREATED", "STATE", "HERE"], (each) => [
        each.name,
        each.public_key,
        time(each.created_at),
        each.revoked_at === null ? "valid" : `revoked ${time(each.revoked_at)}`,
        each.file === null ? "no" : "yes",
      ]);
    });
}

function registerRevoke(key: Command): void {
  key
    .command("revoke")
    .description("Revoke a key for good, and delete its private half here; its signatures count no more")
    .argument("<name-or-id>")
    .action(async (wanted: string, _options: unknown, command: Command) => {
      const { client, output } = contextOf(command);
      let found: SigningKey | undefined;
      for await (const each of client.keys.list())
        if (each.id === wanted || (each.name === wanted && each.revoked_at === null)) found = each;
      if (found === undefined)
        throw new DataStreamError("not_found", `You have no key ${wanted} that is not revoked.`);
      await client.keys.revoke(found.id);
      const stored = storedKeys().find(({ publicKey }) => publicKey === found.public_key);
      if (stored !== undefined) deleteKey(stored.name);
      output.result({ revoked: found.id }, () => `Key revoked: ${found.name}`);
    });
}

interface KnownKeyOptions {
  readonly deployment?: boolean;
}

const scopeOf = (options: KnownKeyOptions): KnownKeyScope => (options.deployment ? "deployment" : "own");

function registerAddKnown(known: Command): void {
  known
    .command("add")
    .description(`Accept a key's signatures: on your list at the gateway and in ${KNOWN_KEYS_FILE}`)
    .argument("<name>")
    .argument("<public-key>", "64 hexadecimal digits")
    .option("--deployment", "the list of the whole deployment instead; for administrators")
    .action(async (name: string, text: string, options: KnownKeyOptions, command: Command) => {
      const { client, output } = contextOf(command);
      const publicKey = parsePublicKey(text, "public_key");
      const hex = toHex(publicKey);
      const added = await client.keys.addKnown({ name, publicKey: hex }, scopeOf(options));
      if (options.deployment !== true) {
        const others = readKnownKeys(KNOWN_KEYS_FILE).filter((each) => toHex(each.publicKey) !== hex);
        writeKnownKeys([...others, { name, publicKey }]);
      }
      output.result(added, () => `Known key added: ${name}`);
    });
}

function registerListKnown(known: Command): void {
  known
    .command("list")
    .description("List the keys that you and the deployment know")
    .action(async (_options: unknown, command: Command) => {
      const { client, output } = contextOf(command);
      const keys: (KnownKeyEntry & { list: KnownKeyScope; file: boolean })[] = [];
      const here = new Set(readKnownKeys(KNOWN_KEYS_FILE).map(({ publicKey }) => toHex(publicKey)));
      for (const list of ["own", "deployment"] as const)
        for await (const each of client.keys.known(list))
          keys.push({ ...each, list, file: here.has(each.public_key) });
      await output.list("known_keys", keys, ["NAME", "PUBLIC KEY", "LIST", "HERE"], (each) => [
        each.name,
        each.public_key,
        each.list === "own" ? "yours" : "deployment",
        each.file ? "yes" : "no",
      ]);
    });
}

function registerRemoveKnown(known: Command): void {
  known
    .command("remove")
    .description("Accept a key's signatures no more, at once")
    .argument("<public-key>")
    .option("--deployment", "from the list of the whole deployment; for administrators")
    .action(async (text: string, options: KnownKeyOptions, command: Command) => {
      const { client, output } = contextOf(command);
      const hex = toHex(parsePublicKey(text, "public_key"));
      // First here: what fails afterwards can be done again, and was not trusted meanwhile.
      if (options.deployment !== true)
        writeKnownKeys(readKnownKeys(KNOWN_KEYS_FILE).filter((each) => toHex(each.publicKey) !== hex));
      await client.keys.removeKnown(hex, scopeOf(options));
      output.result({ removed: hex }, () => `Known key removed: ${hex}`);
    });
}

function writeKnownKeys(keys: Parameters<typeof formatKnownKeys>[0]): void {
  mkdirSync(dirname(KNOWN_KEYS_FILE), { recursive: true });
  // Renaming is atomic: a crash leaves the old file or the new one, never half of either.
  const scratch = `${KNOWN_KEYS_FILE}.${process.pid}`;
  writeFileSync(scratch, formatKnownKeys(keys), { mode: 0o600 });
  renameSync(scratch, KNOWN_KEYS_FILE);
}
