/** The command as a person or a script meets it: a process of its own against the real gateway. */
import { execFile, spawn } from "node:child_process";
import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { emptyNode } from "../../scripts/demo/damage.ts";
import { startGateway, type TestGateway } from "../support/gateway.ts";

const MAIN = join(import.meta.dirname, "..", "..", "cli", "main.ts");
const SCHEMA = JSON.stringify({ type: "text", format: "txt", labels: "path" });
const FILES = 30;

let gateway: TestGateway;
let folder: string;

interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

function cyxcloud(arguments_: readonly string[], environment: Record<string, string> = {}): Promise<Outcome> {
  return new Promise((resolve) => {
    const env = {
      PATH: process.env["PATH"] ?? "",
      HOME: folder,
      CYXCLOUD_GATEWAY: gateway.url,
      CYXCLOUD_API_KEY: gateway.owner.apiKey,
      ...environment,
    };
    execFile(
      process.execPath,
      [MAIN, ...arguments_],
      { env, cwd: folder, encoding: "utf8" },
      (error, stdout, stderr) => {
        resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr });
      },
    );
  });
}

/** Runs a command that must succeed. */
async function succeed(...arguments_: string[]): Promise<string> {
  const { code, stdout, stderr } = await cyxcloud(arguments_);
  expect(stderr).toBe("");
  expect(code).toBe(0);
  return stdout;
}

async function json<T>(...arguments_: string[]): Promise<T> {
  return JSON.parse(await succeed(...arguments_, "--json")) as T;
}

beforeAll(async () => {
  gateway = await startGateway();
  folder = mkdtempSync(join(tmpdir(), "cyxcloud-cli-"));
  writeFileSync(join(folder, "large.txt"), "a file, not a folder");
  for (let i = 0; i < FILES; i++) {
    const parent = join(folder, "words", i % 2 === 0 ? "even" : "odd");
    mkdirSync(parent, { recursive: true });
    writeFileSync(join(parent, `${i}.txt`), `word ${i}\n`.repeat(1 + i));
  }
});

afterAll(async () => {
  await gateway.stop();
  rmSync(folder, { recursive: true, force: true });
});

test("from files to a verified stream, with the output that the documentation shows", async () => {
  expect(await succeed("upload", "words", "--bucket", "texts")).toMatch(
    /^Uploaded to texts: words\/\n {2}Files: 30\n {2}Size: .*B\n {2}Chunks: 1\n$/,
  );
  expect((await succeed("ls", "texts/words/even/")).trim().split("\n")).toHaveLength(1 + FILES / 2);

  const created = await succeed(
    "dataset",
    "create",
    "words",
    "--files",
    "texts/words/**/*.txt",
    "--schema",
    SCHEMA,
  );
  expect(created).toMatch(
    /^Created dataset: words \(version 1\)\n {2}Files: 30\n {2}Size: .*B\n {2}Hash: [0-9a-f]{8}…\n {2}Trust: self\n$/,
  );

  expect(await succeed("dataset", "verify", "words")).toBe(
    [
      "Verifying dataset: words",
      "  Manifest hash: valid",
      "  Files verified: 30/30",
      "  Trust level: self",
      "",
      "Checking public registry...",
      "  No match",
      "",
    ].join("\n"),
  );
  expect(await json("dataset", "verify", "words", "--depth", "full")).toMatchObject({
    files_checked: 30,
    files_failed: 0,
  });

  expect(await succeed("dataset", "token", "words", "--quiet")).toMatch(/^[\w-]+\.[\w-]+\.[\w-]+\n$/);
  const token = await succeed("dataset", "token", "words", "--ttl", "2h");
  expect(token).toMatch(
    /^Access token created:\n {2}Dataset: words\n {2}Scopes: read, stream\n {2}Expires: \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC\n {2}Id: [0-9a-f-]{36}\n {2}Token: eyJ[\w.-]+\n$/,
  );

  const counted = await json<{ items_verified: number; batches: number }>(
    "stream",
    "words",
    "--count",
    "--batch-size",
    "8",
  );
  expect(counted).toMatchObject({ items: FILES, items_verified: FILES, batches: 4 });
});

test("a streamed folder equals the uploaded one, also with two storage nodes emptied", async () => {
  await json("upload", "words", "--bucket", "copies");
  await json("dataset", "create", "copies", "--files", "copies/words/**", "--schema", SCHEMA);
  for (const node of [1, 4]) await emptyNode(gateway, node);
  await succeed("stream", "copies", "--to", "streamed", "--shuffle", "full", "--seed", "5");
  for (const parent of ["even", "odd"]) {
    const names = readdirSync(join(folder, "words", parent));
    expect(readdirSync(join(folder, "streamed", parent)).toSorted()).toEqual(names.toSorted());
    for (const name of names) {
      expect(readFileSync(join(folder, "streamed", parent, name))).toEqual(
        readFileSync(join(folder, "words", parent, name)),
      );
    }
  }
  const health = await json<{ repair_queue: number; nodes: unknown[] }>("admin", "health");
  expect(health.nodes).toHaveLength(6);
  expect(health.repair_queue).toBeGreaterThan(0);
  await succeed("admin", "repair");
  expect(await json("admin", "health")).toMatchObject({ repair_queue: 0 });
  expect(await succeed("admin", "health")).toMatch(/node-1 +live +yes/);
});

test("files whose names look like those of unfinished ones", async () => {
  const paths = ["a", "a.part", "a.part.part", "b", "b.part"].map((name) => `x/${name}`);
  mkdirSync(join(folder, "parts", "x"), { recursive: true });
  for (const path of paths) writeFileSync(join(folder, "parts", path), path);
  symlinkSync("nowhere", join(folder, "parts", "x", "dangling"));
  await json("upload", "parts", "--bucket", "parts");
  await json("dataset", "create", "parts", "--files", "parts/parts/**", "--schema", SCHEMA);
  for (const seed of ["1", "2", "-3"])
    await succeed("stream", "parts", "--to", "whole", "--shuffle", "full", "--seed", seed, "--epochs", "3");
  for (const path of paths) expect(readFileSync(join(folder, "whole", path), "utf8")).toBe(path);
  expect(readdirSync(join(folder, "whole"))).toEqual(["x"]);
  expect(readdirSync(join(folder, "whole", "x"))).toHaveLength(paths.length);
});

test("a seed of 64 bits is not rounded", async () => {
  await json("upload", "words", "--bucket", "seeds");
  await json("dataset", "create", "seeds", "--files", "seeds/words/**", "--schema", SCHEMA);
  const transcriptOf = async (seed: string): Promise<string> =>
    (await json<{ transcript: string }>("stream", "seeds", "--count", "--shuffle", "full", "--seed", seed))
      .transcript;
  expect(await transcriptOf("9007199254740993")).not.toBe(await transcriptOf("9007199254740992"));
});

test("verifying the manifest alone succeeds", async () => {
  await json("upload", "words", "--bucket", "manifests");
  await json("dataset", "create", "manifests", "--files", "manifests/words/**", "--schema", SCHEMA);
  expect(await json("dataset", "verify", "manifests", "--depth", "manifest")).toMatchObject({
    manifest_valid: true,
    files_checked: 0,
    files_failed: 0,
  });
});

test("a reader that leaves early is no failure", async () => {
  await json("upload", "words", "--bucket", "pipes");
  const child = spawn(process.execPath, [MAIN, "ls", "pipes/words/"], {
    env: { PATH: "", HOME: folder, CYXCLOUD_GATEWAY: gateway.url, CYXCLOUD_API_KEY: gateway.owner.apiKey },
    stdio: ["ignore", "pipe", "pipe"],
  });
  child.stdout.destroy();
  let stderr = "";
  child.stderr.on("data", (data: Buffer) => (stderr += data.toString()));
  const code = await new Promise((resolve) => child.on("close", resolve));
  expect([stderr, code]).toEqual(["", 0]);
});

test("single objects: upload, get, rm", async () => {
  writeFileSync(join(folder, "large.bin"), Buffer.alloc(300_000, "abc"));
  await succeed("upload", "large.bin", "--bucket", "objects", "--key", "deep/large.bin");
  await succeed("get", "objects/deep/large.bin", "back.bin");
  expect(readFileSync(join(folder, "back.bin"))).toEqual(readFileSync(join(folder, "large.bin")));
  expect(await succeed("rm", "objects/deep/large.bin")).toBe("Deleted 1 object\n");
  const { code, stderr } = await cyxcloud(["get", "objects/deep/large.bin", "again.bin"]);
  expect(code).toBe(1);
  expect(stderr).toMatch(/^error: /);
  expect(readdirSync(folder)).not.toContain("again.bin");
  expect(readdirSync(folder).filter((name) => name.endsWith(".part"))).toEqual([]);
});

test("new versions, list, info, files and delete", async () => {
  await json("upload", "words", "--bucket", "versions");
  for (const glob of ["versions/words/*/?.txt", "versions/words/**"]) {
    await json("dataset", "create", "versions", "--files", glob, "--schema", SCHEMA);
  }
  expect(await json("dataset", "info", "versions")).toMatchObject({ version: 2, file_count: 30 });
  expect(await json("dataset", "info", "versions@1")).toMatchObject({ version: 1, file_count: 10 });
  expect(await succeed("dataset", "list", "--search", "version")).toMatch(
    /^NAME +VERSION +OWNER .*\nversions +2 +owner [^\n]*\n$/,
  );
  expect(await succeed("dataset", "versions", "versions")).toMatch(/^NAME.*\nversions +2 .*\nversions +1 /);
  expect((await succeed("dataset", "files", "versions@1")).trim().split("\n")).toHaveLength(10);
  await succeed("dataset", "delete", "versions@2");
  expect(await json("dataset", "info", "versions")).toMatchObject({ version: 1 });
});

describe("errors say what to do", () => {
  test.each([
    [["stream", "nothing", "--count"], 1, /^error: /],
    [["stream", "words"], 1, /--to FOLDER or --count/],
    [["upload", "missing", "--bucket", "texts"], 1, /missing does not exist/],
    [["dataset", "create", "words", "--files", "texts/none/*", "--schema", SCHEMA], 1, /none/],
    [["dataset", "create", "words", "--files", "texts/**", "--schema", "{"], 1, /schema: is not JSON/],
    [["dataset", "token", "words", "--ttl", "60d"], 1, /ttl/],
    [["dataset", "token", "words", "--node", "node-1"], 1, /you have no training node of this name/],
    [["stream", "words", "--count", "--seed", "1.5"], 1, /^error: seed: 1\.5 is no whole number/],
    [["stream", "words", "--count", "--seed", "18446744073709551616"], 1, /^error: seed: .*64 bits/],
    [["stream", "words", "--to", "large.txt/below"], 1, /^error: E[A-Z]+: .*large\.txt/],
    [
      ["dataset", "create", "words", "--files", "texts/**", "--schema", "@none.json"],
      1,
      /ENOENT.*none\.json/,
    ],
    [["upload", "words"], 2, /--bucket/],
    [["nonsense"], 2, /unknown command/],
  ])("%j", async (arguments_, code, message) => {
    const outcome = await cyxcloud(arguments_);
    expect(outcome.stderr).toMatch(message);
    expect(outcome.code).toBe(code);
  });

  test("as JSON for programs, on stderr", async () => {
    const { stdout, stderr, code } = await cyxcloud(["dataset", "info", "nothing", "--json"]);
    expect([stdout, code]).toEqual(["", 1]);
    expect(JSON.parse(stderr)).toMatchObject({ error: { code: "not_found" } });
  });

  test("a wrong key is refused without a stack trace", async () => {
    const { stderr, code } = await cyxcloud(["ls"], { CYXCLOUD_API_KEY: "cyx_wrong" });
    expect(code).toBe(1);
    expect(stderr).toMatch(/^error: [^\n]+\n$/);
    expect(stderr).not.toContain("cyx_wrong");
  });

  test("without a credential it says where one belongs, and asks nobody", async () => {
    const { stderr, code } = await cyxcloud(["ls"], { CYXCLOUD_API_KEY: "", CYXCLOUD_ACCESS_TOKEN: "" });
    expect(code).toBe(1);
    expect(stderr).toBe(
      `error: There is no API key for ${gateway.url}. Set CYXCLOUD_API_KEY, or give an access token with --token.\n`,
    );
  });

  test.each([
    [{ CYXCLOUD_GATEWAY: "" }, /^error: gateway: unknown\. Give --gateway/],
    [{ CYXCLOUD_GATEWAY: "localhost:8787" }, /^error: gateway: localhost:8787 is no address such as https/],
    [{ CYXCLOUD_CLIENT_KEY: "a.pem" }, /^error: client-certificate: goes together with --client-key/],
  ])("%j", async (environment, message) => {
    const { stderr, code } = await cyxcloud(["ls"], environment);
    expect(stderr).toMatch(message);
    expect(code).toBe(1);
  });

  test("without a gateway it says how to get one", async () => {
    const { stderr, code } = await cyxcloud(["ls"], { CYXCLOUD_GATEWAY: "http://127.0.0.1:9" });
    expect(code).toBe(1);
    expect(stderr).toMatch(/http:\/\/127\.0\.0\.1:9 cannot be reached/);
  });
});

test("help is there on every level", async () => {
  for (const path of [[], ["upload"], ["dataset"], ["dataset", "create"], ["stream"], ["admin", "health"]]) {
    expect(await succeed(...path, "--help")).toMatch(/^Usage: cyxcloud/);
  }
});
