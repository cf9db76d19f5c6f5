/** Keys and signatures by the command, through a proxy that keeps everything that leaves the machine. */
import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { buffer } from "node:stream/consumers";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { TestGateway } from "../support/gateway.ts";
import { startWords } from "./fixture.ts";

const MAIN = join(import.meta.dirname, "..", "..", "cli", "main.ts");
const PASSPHRASE = "correct horse battery staple";

let gateway: TestGateway;
let proxy: Server;
let home: string;
const sent: string[] = [];

interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

function cyxcloud(arguments_: readonly string[], environment: Record<string, string> = {}): Promise<Outcome> {
  const env = {
    PATH: process.env["PATH"] ?? "",
    HOME: home,
    CYXCLOUD_GATEWAY: `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`,
    CYXCLOUD_API_KEY: gateway.owner.apiKey,
    ...environment,
  };
  return new Promise((resolve) => {
    const options = { env, cwd: home, encoding: "utf8" } as const;
    const child = execFile(process.execPath, [MAIN, ...arguments_], options, (error, stdout, stderr) =>
      resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr }),
    );
    child.stdin?.end();
  });
}

async function json<T>(arguments_: readonly string[], environment: Record<string, string> = {}): Promise<T> {
  const { code, stdout, stderr } = await cyxcloud([...arguments_, "--json"], environment);
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  return JSON.parse(stdout) as T;
}

beforeAll(async () => {
  gateway = await startWords(4);
  home = mkdtempSync(join(tmpdir(), "cyxcloud-keys-"));
  proxy = createServer((request, response) => {
    forward(request, response).catch(() => response.destroy());
  });
  await new Promise<void>((resolve) => proxy.listen(0, "127.0.0.1", resolve));
}, 60_000);

afterAll(async () => {
  await new Promise((resolve) => proxy.close(resolve));
  await gateway.stop();
  rmSync(home, { recursive: true, force: true });
});

async function forward(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const body = await buffer(request);
  sent.push(`${request.url} ${JSON.stringify(request.headers)} ${body.toString()}`);
  const answer = await fetch(new URL(request.url ?? "/", gateway.url), {
    method: request.method ?? "GET",
    headers: { authorization: request.headers.authorization ?? "", "content-type": "application/json" },
    ...(body.length > 0 && { body }),
  });
  response.writeHead(answer.status, { "content-type": answer.headers.get("content-type") ?? "" });
  response.end(Buffer.from(await answer.arrayBuffer()));
}

interface Created {
  readonly id: string;
  readonly public_key: string;
  readonly file: string;
}

test("from a new key to a signed dataset that is verified here, and back", async () => {
  const created = await cyxcloud(["key", "create", "laptop"]);
  expect(created.stderr).toBe("");
  expect(created.stdout).toMatch(
    /^Key created: laptop\n {2}Public key: [0-9a-f]{64}\n {2}File: .*laptop\.json\n/,
  );
  const publicKey = /[0-9a-f]{64}/.exec(created.stdout)?.[0] ?? "";
  const file = join(home, ".config", "cyxcloud", "keys", "laptop.json");
  expect(statSync(file).mode & 0o777).toBe(0o600);
  expect(statSync(join(file, "..")).mode & 0o777).toBe(0o700);

  const signed = await cyxcloud(["dataset", "sign", "words"]);
  expect(signed.stdout).toMatch(
    /^Signed: owner\/words \(version 2\)\n {2}Key: laptop \([0-9a-f]{64}\)\n {2}Hash: [0-9a-f]{64}\n {2}Schema hash: [0-9a-f]{64}\n {2}Trust: self\n$/,
  );
  expect((await cyxcloud(["dataset", "evidence", "words"])).stdout).toContain("no signature of a key");
  expect((await cyxcloud(["known-key", "add", "mine", publicKey])).stdout).toBe("Known key added: mine\n");
  expect((await cyxcloud(["dataset", "evidence", "words"])).stdout).toMatch(
    /signature .* signed\nVerified here: signed by mine\n$/,
  );
  expect(await json(["dataset", "info", "words"])).toMatchObject({ trust: "signed" });
  expect(await json(["known-key", "list"])).toMatchObject({
    known_keys: [{ public_key: publicKey, list: "own", file: true }],
  });
  expect(await json(["key", "list"])).toMatchObject({ keys: [{ name: "laptop", file, revoked_at: null }] });

  expect((await cyxcloud(["key", "revoke", "laptop"])).stdout).toBe("Key revoked: laptop\n");
  expect(await json(["dataset", "info", "words"])).toMatchObject({ trust: "self" });
  expect(await json(["key", "list"])).toMatchObject({
    keys: [{ file: null, revoked_at: expect.any(String) }],
  });
  expect((await cyxcloud(["known-key", "remove", publicKey])).code).toBe(0);
  expect(readFileSync(join(home, ".config", "cyxcloud", "known-keys"), "utf8")).toBe("");
});

test("a key with a passphrase opens with it alone", async () => {
  const passphrase = { CYXCLOUD_KEY_PASSPHRASE: PASSPHRASE };
  const nobody = await cyxcloud(["key", "create", "vault", "--passphrase"]);
  expect(nobody).toMatchObject({ code: 1, stderr: expect.stringContaining("CYXCLOUD_KEY_PASSPHRASE") });
  const { file } = await json<Created>(["key", "create", "vault", "--passphrase"], passphrase);
  expect(statSync(file).mode & 0o777).toBe(0o600);
  const sign = (environment: Record<string, string>): Promise<Outcome> =>
    cyxcloud(["dataset", "sign", "words", "--key", "vault"], environment);
  const wrong = await sign({ CYXCLOUD_KEY_PASSPHRASE: `${PASSPHRASE}!` });
  expect(wrong).toEqual({
    code: 1,
    stdout: "",
    stderr: "error: passphrase: it does not open the key vault.\n",
  });
  expect(await sign({})).toMatchObject({ code: 1, stderr: expect.stringContaining("passphrase: is needed") });
  expect(await sign(passphrase)).toMatchObject({ code: 0, stderr: "" });

  // Another public key in the file is noticed, as is another tag.
  const content = JSON.parse(readFileSync(file, "utf8")) as { public_key: string };
  writeFileSync(file, JSON.stringify({ ...content, public_key: "d7".repeat(32) }));
  expect(await sign(passphrase)).toMatchObject({ code: 1, stderr: wrong.stderr });
  writeFileSync(file, JSON.stringify(content));
});

test("a name is used once, on this machine and at the gateway", async () => {
  const { file } = await json<Created>(["key", "create", "once"]);
  const again = await cyxcloud(["key", "create", "once"]);
  expect(again).toMatchObject({ code: 1, stderr: expect.stringContaining("once") });
  // What could not be registered leaves no file.
  rmSync(file);
  const taken = await cyxcloud(["key", "create", "once"]);
  expect(taken).toMatchObject({ code: 1, stderr: expect.stringContaining("name") });
  expect(() => statSync(file)).toThrow("ENOENT");
  expect((await cyxcloud(["key", "create", "../escape"])).stderr).toContain("name: use 1 to 64");
  expect((await cyxcloud(["dataset", "sign", "words", "--key", "nothing"])).stderr).toContain(
    "no key nothing",
  );
});

test("no private key leaves the machine, and none is printed", async () => {
  const passphrase = { CYXCLOUD_KEY_PASSPHRASE: PASSPHRASE };
  const { file } = await json<Created>(["key", "create", "spied"]);
  const { seed } = JSON.parse(readFileSync(file, "utf8")) as { seed: string };
  const outputs = [
    await cyxcloud(["dataset", "sign", "words", "--key", "spied", "--json"]),
    await cyxcloud(["key", "list"]),
    await cyxcloud(["dataset", "sign", "words", "--key", "vault"], passphrase),
  ].flatMap(({ stdout, stderr }) => [stdout, stderr]);
  const bytes = Buffer.from(seed, "base64");
  expect(bytes).toHaveLength(32);
  expect(sent.some((each) => each.startsWith("/api/keys "))).toBe(true);
  for (const secret of [
    seed,
    seed.slice(0, 40),
    bytes.toString("hex"),
    bytes.toString("base64url"),
    PASSPHRASE,
  ])
    for (const text of [...sent, ...outputs]) expect(text).not.toContain(secret);
});
