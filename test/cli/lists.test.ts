/** Every list for programs: one object, with the items under the name that the gateway's own answer has. */
import { execFile } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startGateway, type TestGateway } from "../support/gateway.ts";

const MAIN = join(import.meta.dirname, "..", "..", "cli", "main.ts");
let gateway: TestGateway;
let home: string;

function cyxcloud(...arguments_: string[]): Promise<string> {
  const env = { HOME: home, CYXCLOUD_GATEWAY: gateway.url, CYXCLOUD_API_KEY: gateway.owner.apiKey };
  return new Promise((resolve, reject) => {
    execFile(process.execPath, [MAIN, ...arguments_], { env, cwd: home }, (error, stdout) =>
      error === null ? resolve(stdout) : reject(error),
    );
  });
}

beforeAll(async () => {
  gateway = await startGateway();
  home = mkdtempSync(join(tmpdir(), "cyxcloud-lists-"));
  for (const name of ["a.txt", "b.txt"]) writeFileSync(join(home, name), name);
  await cyxcloud("upload", "a.txt", "--bucket", "words");
  await cyxcloud("upload", "b.txt", "--bucket", "words");
  const schema = JSON.stringify({ type: "text", format: "txt" });
  await cyxcloud("dataset", "create", "words", "--files", "words/*", "--schema", schema);
  await cyxcloud("dataset", "token", "words");
  await cyxcloud("user", "create", "ada");
  await cyxcloud("dataset", "share", "words", "--with", "ada");
  await cyxcloud("key", "create", "laptop");
  await cyxcloud("dataset", "sign", "words");
  await cyxcloud("node", "register", "node-1");
});
afterAll(async () => {
  await gateway.stop();
  rmSync(home, { recursive: true, force: true });
});

test.each([
  ["ls", "buckets", 1],
  ["ls words/", "objects", 2],
  ["dataset list", "datasets", 1],
  ["dataset list --public", "datasets", 0],
  ["dataset versions words", "versions", 1],
  ["dataset files words", "files", 2],
  ["dataset tokens", "tokens", 1],
  ["dataset tokens words", "tokens", 1],
  ["dataset shares words", "shares", 1],
  ["dataset evidence words", "evidence", 1],
  ["public list --search MNIST", "public_datasets", 3],
  ["key list", "keys", 1],
  ["known-key list", "known_keys", 0],
  ["node list", "nodes", 1],
  ["user list", "users", 2],
  ["api-key list", "api_keys", 1],
])("%s", async (command, name, count) => {
  const printed = await cyxcloud(...command.split(" "), "--json");
  expect(printed.trimEnd()).not.toContain("\n");
  const list = JSON.parse(printed) as Record<string, unknown[]>;
  expect(list[name]).toHaveLength(count);
  // People get a line for each, below a head.
  const lines = (await cyxcloud(...command.split(" "))).trimEnd().split("\n");
  const below = name === "files" ? 0 : name === "evidence" ? 2 : 1;
  expect(lines).toHaveLength(count + below);
});
