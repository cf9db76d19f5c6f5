import { once } from "node:events";
import { createInterface } from "node:readline/promises";
import { Writable } from "node:stream";
import { DataStreamError, invalidArgument } from "../core/errors.ts";

/**
 * Where programs leave the passphrase of a key; never an option, since other processes can read those.
 * An empty value counts as none.
 */
const VARIABLE = "CYXCLOUD_KEY_PASSPHRASE";

/** @throws `invalid_argument` where there is nobody to ask. */
export async function askPassphrase(question: string): Promise<string> {
  const given = process.env[VARIABLE] ?? "";
  if (given !== "") return given;
  if (!process.stdin.isTTY)
    throw invalidArgument("passphrase", `is needed. Run this in a terminal, or set ${VARIABLE}.`);
  // What is typed is read through an output that shows nothing.
  const output = new Writable({ write: (_chunk, _encoding, done) => done() });
  const terminal = createInterface({ input: process.stdin, output, terminal: true });
  // Asked when the terminal no longer shows what is typed.
  process.stderr.write(`${question}: `);
  try {
    return await Promise.race([terminal.question(""), once(terminal, "close").then(noAnswer)]);
  } catch {
    return noAnswer(); // Ctrl-C or Ctrl-D
  } finally {
    terminal.close();
    process.stderr.write("\n");
  }
}

function noAnswer(): never {
  throw new DataStreamError("canceled", "No passphrase was given. Nothing was done.");
}

/** Asks twice. @throws `invalid_argument` when the two differ or are empty. */
export async function choosePassphrase(): Promise<string> {
  const chosen = await askPassphrase("Passphrase for the new key");
  if (chosen === "") throw invalidArgument("passphrase", "must not be empty.");
  if ((await askPassphrase("The same again")) === chosen) return chosen;
  throw invalidArgument("passphrase", "the two differ.");
}
