/** Commands about people and their keys, as a new user of a gateway needs them. */
import { execFile } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startGateway, type TestGateway } from "../support/gateway.ts";
import { requireTool } from "../support/tools.ts";

const MAIN = join(import.meta.dirname, "..", "..", "cli", "main.ts");
const SCHEMA = JSON.stringify({ type: "text", format: "txt" });

let gateway: TestGateway;
let folder: string;
interface Person {
  readonly home: string;
  readonly apiKey: string;
}
let owner: Person;

function person(name: string, apiKey: string): Person {
  const home = join(folder, name);
  mkdirSync(home);
  return { home, apiKey };
}

const environmentOf = ({ home, apiKey }: Person): Record<string, string> => ({
  HOME: home,
  PATH: process.env["PATH"] ?? "",
  CYXCLOUD_GATEWAY: gateway.url,
  CYXCLOUD_API_KEY: apiKey,
});

function run(who: Person, program: string, ...arguments_: string[]): Promise<[number, string]> {
  return new Promise((resolve) => {
    const options = { env: environmentOf(who), cwd: who.home, encoding: "utf8" } as const;
    execFile(program, arguments_, options, (error, stdout, stderr) =>
      resolve([error === null ? 0 : Number(error.code), stdout + stderr]),
    );
  });
}
const cyxcloud = (who: Person, ...arguments_: string[]): Promise<[number, string]> =>
  run(who, process.execPath, MAIN, ...arguments_);

async function succeed(who: Person, ...arguments_: string[]): Promise<string> {
  const [code, output] = await cyxcloud(who, ...arguments_);
  expect([code, output]).toEqual([0, output]);
  return output;
}

async function newUser(name: string): Promise<Person> {
  const printed = await succeed(owner, "user", "create", name);
  const key = /API key \(shown once\): (\S+)/.exec(printed)?.[1];
  return person(name, key as string);
}

beforeAll(async () => {
  gateway = await startGateway();
  folder = mkdtempSync(join(tmpdir(), "cyxcloud-people-"));
  owner = person("owner", gateway.owner.apiKey);
  writeFileSync(join(owner.home, "a.txt"), "a");
  await succeed(owner, "upload", "a.txt", "--bucket", "words");
  await succeed(owner, "dataset", "create", "words", "--files", "words/*", "--schema", SCHEMA);
});
afterAll(async () => {
  await gateway.stop();
  rmSync(folder, { recursive: true, force: true });
});

test("a share with an e-mail address reaches its user once an administrator verified it", async () => {
  const ada = await newUser("ada");
  await succeed(owner, "dataset", "share", "words", "--with", "ada@example.com");
  expect(await cyxcloud(ada, "dataset", "info", "owner/words")).toEqual([
    1,
    expect.stringMatching(/no such dataset/),
  ]);
  expect(await cyxcloud(ada, "user", "verify", "ada")).toEqual([1, expect.stringMatching(/administrator/)]);
  expect(await cyxcloud(owner, "user", "verify", "ada")).toEqual([
    1,
    expect.stringMatching(/email: the user has none/),
  ]);
  expect(await succeed(owner, "user", "verify", "ada", "--email", "ada@example.com")).toBe(
    "E-mail address verified: ada@example.com\n  User: ada\n",
  );
  expect(await succeed(owner, "user", "list")).toMatch(/\nada +owner +\S+ \S+ UTC +ada@example\.com\n/);
  expect(await succeed(ada, "whoami")).toMatch(/^ada\n {2}Role: owner\n {2}E-mail: ada@example\.com\n/);
  expect(await succeed(ada, "dataset", "list")).toMatch(/\nwords +1 +owner /);
  expect(await succeed(owner, "dataset", "unshare", "words", "--with", "ada@example.com")).toMatch(
    /^Share ended: ada@example\.com/,
  );
});

test("an attestor takes back what they attested, without the private key too", async () => {
  const lab = await newUser("lab");
  await succeed(owner, "dataset", "share", "words", "--with", "lab");
  const key = /Public key: (\S+)/.exec(await succeed(lab, "key", "create", "stamp"))?.[1] as string;
  expect(await succeed(owner, "attestors", "list")).toMatch(
    /^There are no attestors yet\..*attestors add\n$/,
  );
  await succeed(owner, "attestors", "add", "lab", key);
  expect(await cyxcloud(lab, "dataset", "attest", "owner/words")).toEqual([
    1,
    expect.stringMatching(/^error: claim: give either --claim TEXT or --withdraw/),
  ]);
  await succeed(lab, "dataset", "attest", "owner/words", "--claim", "looked at");
  rmSync(join(lab.home, ".config"), { recursive: true });
  expect(await succeed(lab, "dataset", "attest", "owner/words", "--withdraw")).toBe(
    `Attestation withdrawn: owner/words (version 1)\n  Key: ${key}\n  Trust: untrusted\n`,
  );
  expect(await succeed(lab, "dataset", "evidence", "owner/words")).toMatch(/withdrawn \d{4}-.* untrusted\n/);
  expect(await cyxcloud(lab, "dataset", "attest", "owner/words", "--withdraw")).toEqual([
    1,
    expect.stringMatching(/^error: There is no attestation of this version by a key of yours/),
  ]);
});

test("revoking a node deletes its key here, so that its name is free again", async () => {
  await succeed(owner, "node", "register", "node-1");
  const file = join(owner.home, ".config", "cyxcloud", "nodes", "node-1.json");
  expect(existsSync(file)).toBe(true);
  await succeed(owner, "node", "revoke", "node-1");
  expect(existsSync(file)).toBe(false);
  await succeed(owner, "node", "register", "node-1");
});

test("a stream leaves no access token behind", async () => {
  await succeed(owner, "stream", "words", "--count");
  expect(await succeed(owner, "dataset", "tokens", "words")).toMatch(
    /^DATASET.*\nowner\/words@1 +read, stream +owner +revoked /,
  );
});

const PYTHON = requireTool("python3");
/** Plays a person at a terminal, who answers a question with the given keys. */
const TERMINAL = `
import os, pty, sys
pid, terminal = pty.fork()
if pid == 0: os.execv(sys.argv[2], sys.argv[2:])
shown = b""
while not shown.endswith(b": "): shown += os.read(terminal, 1)
os.write(terminal, sys.argv[1].encode().decode("unicode_escape").encode())
while True:
    try: shown += os.read(terminal, 4096)
    except OSError: break
print(shown.decode().replace("\\r", ""))
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
`;

test.skipIf(PYTHON === undefined).each([
  ["Ctrl-C", "\\x03"],
  ["Ctrl-D", "\\x04"],
])("%s at a passphrase does nothing, and says so (needs Python 3)", async (_name, keys) => {
  const command = [process.execPath, MAIN, "key", "create", "vault", "--passphrase"];
  const [code, output] = await run(owner, PYTHON as string, "-c", TERMINAL, keys, ...command);
  expect(output).toContain("error: No passphrase was given. Nothing was done.");
  expect(code).toBe(1);
  expect(existsSync(join(owner.home, ".config", "cyxcloud", "keys", "vault.json"))).toBe(false);
});
