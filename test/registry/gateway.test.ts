/** The registry as people meet it: the command against the real gateway, with real digits. */
import { execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { addUser } from "../api/users.ts";
import { type Owner, startGateway, type TestGateway } from "../support/gateway.ts";
import { digits, DIGITS_CSV, DIGITS_GZ, idxContents, idxFiles } from "./published.ts";

const MAIN = join(import.meta.dirname, "..", "..", "cli", "main.ts");
const TABLE = JSON.stringify({ type: "bytes", format: "gz" });
const IMAGES = JSON.stringify({
  type: "image",
  format: "raw",
  shape: [8, 8, 1],
  dtype: "uint8",
  labels: "path",
});

let gateway: TestGateway;
let folder: string;
let eve: Owner;

interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

function cyxcloud(user: Owner, ...arguments_: string[]): Promise<Outcome> {
  return new Promise((resolve) => {
    const env = {
      PATH: process.env["PATH"] ?? "",
      HOME: folder,
      CYXCLOUD_GATEWAY: gateway.url,
      CYXCLOUD_API_KEY: user.apiKey,
    };
    execFile(
      process.execPath,
      [MAIN, ...arguments_],
      { env, cwd: folder, encoding: "utf8" },
      (error, stdout, stderr) => resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr }),
    );
  });
}

async function succeed(user: Owner, ...arguments_: string[]): Promise<string> {
  const { code, stdout, stderr } = await cyxcloud(user, ...arguments_);
  expect(stderr).toBe("");
  expect(code).toBe(0);
  return stdout;
}

async function json<T>(user: Owner, ...arguments_: string[]): Promise<T> {
  return JSON.parse(await succeed(user, ...arguments_, "--json")) as T;
}

beforeAll(async () => {
  gateway = await startGateway();
  eve = await addUser(gateway, "eve");
  folder = mkdtempSync(join(tmpdir(), "cyxcloud-registry-"));
  const write = (path: string, bytes: Uint8Array): void => {
    mkdirSync(join(folder, path, ".."), { recursive: true });
    writeFileSync(join(folder, path), bytes);
  };
  write("packed/digits.csv.gz", DIGITS_GZ);
  write("plain/digits.csv", DIGITS_CSV);
  const some = digits(40);
  for (const { path, bytes } of idxFiles("train", some)) write(`idx/${path}`, bytes);
  for (const { path, bytes } of idxContents("train", some)) write(`images/${path}`, bytes);
});
afterAll(async () => {
  await gateway.stop();
  rmSync(folder, { recursive: true, force: true });
});

const verified = (name: string, before: string, match: string): string =>
  [
    `Verifying dataset: ${name}`,
    "  Manifest hash: valid",
    "  Files verified: 1/1",
    `  Trust level: ${before}`,
    "",
    "Checking public registry...",
    `  Match found: ${match}`,
    ...(before === "self" ? ["  Trust level upgraded: self -> verified"] : []),
    "",
  ].join("\n");

describe("a published file and what is in it", () => {
  const MATCH = "Optical Digits (verified by scikit-learn)";

  test("go from self to verified, the unpacked form for whoever has it from elsewhere", async () => {
    await succeed(gateway.owner, "upload", "packed", "--bucket", "published");
    const created = await succeed(
      gateway.owner,
      "dataset",
      "create",
      "digits",
      "--files",
      "published/packed/*",
      "--schema",
      TABLE,
    );
    expect(created).toMatch(/\n {2}Trust: self\n$/);
    expect(await succeed(gateway.owner, "dataset", "verify", "digits")).toBe(
      verified("digits", "self", MATCH),
    );
    // Once verified it stays so, and there is nothing to upgrade.
    expect(await succeed(gateway.owner, "dataset", "verify", "digits")).toBe(
      verified("digits", "verified", MATCH),
    );
    expect(await json(gateway.owner, "dataset", "info", "digits")).toMatchObject({
      trust: "verified",
      trust_level: 2,
    });
    expect(await json(gateway.owner, "dataset", "list", "--search", "digits")).toMatchObject({
      datasets: [{ trust: "verified" }],
    });

    await succeed(eve, "upload", "plain", "--bucket", "mine");
    await json(eve, "dataset", "create", "mine", "--files", "mine/plain/*", "--schema", TABLE);
    expect(await succeed(eve, "dataset", "verify", "mine")).toContain("  No match\n");
    const unpacked = await succeed(
      gateway.owner,
      "dataset",
      "unpack",
      "digits",
      "digits-csv",
      "--schema",
      TABLE,
    );
    expect(unpacked).toMatch(
      /^Created dataset: digits-csv \(version 1\)\n {2}Files: 1\n.*\n.*\n {2}Trust: verified\n$/,
    );
    expect(await succeed(eve, "dataset", "verify", "mine")).toBe(verified("mine", "self", MATCH));
  });

  test("are listed and shown with their hashes", async () => {
    expect(await succeed(eve, "public", "list", "--search", "optical")).toMatch(
      /^NAME +VERSION +VERIFIED BY +LICENCE +COPY\nOptical Digits +scikit-learn +scikit-learn +CC BY 4\.0 +-\n$/,
    );
    const shown = await succeed(eve, "public", "show", "Optical Digits");
    expect(shown).toContain("sha256 09f66e6debdee2cd2b5ae59e0d6abbb73fc2b0e0185d2e1957e9ebb51e23aa22");
    expect(await succeed(eve, "public", "show", "CIFAR-10@python")).toContain("(does not verify)");
    const several = await cyxcloud(eve, "public", "show", "MNIST");
    expect(several).toMatchObject({ code: 1, stderr: expect.stringContaining("MNIST@idx or MNIST@npz") });
  });
});

describe("an entry of one's own", () => {
  const add = ["public", "add", "Small Digits", "--release", "idx", "--url", "https://example.org/digits"];
  const files = ["--files", "idx/train-images-idx3-ubyte.gz", "idx/train-labels-idx1-ubyte.gz"];

  test("is an administrator's to add, and its name is taken once", async () => {
    expect(await cyxcloud(eve, ...add, "--verified-by", "eve", ...files)).toMatchObject({
      code: 1,
      stdout: "",
    });
    const added = await succeed(
      gateway.owner,
      ...add,
      "--verified-by",
      "us, them",
      "--recipe",
      "idx",
      ...files,
    );
    expect(added).toBe("Added to the public registry: Small Digits (idx)\n  Files: 2\n");
    const again = await cyxcloud(gateway.owner, ...add, "--verified-by", "us", ...files);
    expect(again.stderr).toMatch(/^error: The registry has "Small Digits@idx" already/);
  });

  test("unpacks into labelled images that stream, and matches the images from elsewhere", async () => {
    await succeed(eve, "upload", "idx", "--bucket", "idx");
    await json(eve, "dataset", "create", "small", "--files", "idx/idx/*", "--schema", TABLE);
    const unpacked = await json<{ content_hash: string }>(
      eve,
      "dataset",
      "unpack",
      "small",
      "small-images",
      "--schema",
      IMAGES,
    );
    expect(unpacked).toMatchObject({ file_count: 40, total_size_bytes: 40 * 64, trust: "verified" });
    expect(await json(eve, "stream", "small-images", "--count", "--batch-size", "8")).toMatchObject({
      items: 40,
    });
    await succeed(gateway.owner, "upload", "images", "--bucket", "images");
    const same = await json<{ content_hash: string }>(
      gateway.owner,
      "dataset",
      "create",
      "images",
      "--files",
      "images/images/**",
      "--schema",
      IMAGES,
    );
    expect(same.content_hash).toBe(unpacked.content_hash);
    expect(await succeed(gateway.owner, "dataset", "verify", "images")).toMatch(
      /Match found: Small Digits \(verified by us, them\)\n {2}Trust level upgraded: self -> verified\n$/,
    );
    expect(await succeed(gateway.owner, "public", "list", "--search", "small")).toContain("us, them");
  });

  test("has a copy that every user may stream until it is closed, and no other is", async () => {
    await succeed(gateway.owner, "upload", "idx", "--bucket", "copies");
    const denied = await cyxcloud(
      eve,
      "public",
      "import",
      "Small Digits",
      "copy",
      "--files",
      "copies/idx/*",
      "--schema",
      TABLE,
    );
    expect(denied.code).toBe(1);
    const imported = await succeed(
      gateway.owner,
      "public",
      "import",
      "Small Digits",
      "copy",
      "--files",
      "copies/idx/*",
      "--schema",
      TABLE,
    );
    expect(imported).toMatch(/^Imported: copy \(version 1\)\n(?:.*\n)* {2}Trust: verified\n$/);
    expect(await succeed(eve, "public", "show", "Small Digits")).toContain(
      "Copy for everybody: owner/copy@1\n",
    );

    const count = (): Promise<Outcome> =>
      cyxcloud(eve, "stream", "owner/copy@1", "--count", "--max-trust-level", "2", "--json");
    expect(JSON.parse((await count()).stdout)).toMatchObject({ items: 2, items_verified: 2 });
    const headers = { authorization: `Bearer ${eve.apiKey}` };
    const listed = await gateway.request("/api/datasets?visibility=public", { headers });
    expect(await listed.json()).toMatchObject({
      datasets: [{ owner: "owner", name: "copy", trust: "verified", visibility: "public" }],
      next_cursor: null,
    });
    const other = await gateway.request("/api/datasets?visibility=private", { headers });
    expect([other.status, await other.json()]).toMatchObject([400, { field: "visibility" }]);
    expect((await cyxcloud(eve, "dataset", "info", "owner/images")).stderr).toMatch(/no such dataset/);
    expect((await cyxcloud(eve, "dataset", "delete", "owner/copy@1")).code).toBe(1);

    // The unpacked form can take its place; what the registry does not know cannot.
    await succeed(gateway.owner, "public", "open", "Small Digits", "images");
    expect((await count()).stderr).toMatch(/no such dataset/);
    expect(await json(eve, "dataset", "info", "owner/images")).toMatchObject({ trust: "verified" });
    const wrong = await cyxcloud(gateway.owner, "public", "open", "Small Digits", "digits");
    expect(wrong.stderr).toMatch(/is not verified against Small Digits@idx/);
    await succeed(gateway.owner, "public", "open", "Small Digits");
    expect((await cyxcloud(eve, "dataset", "info", "owner/images")).stderr).toMatch(/no such dataset/);
  });

  test("that is removed verifies nothing any more", async () => {
    expect(await json(eve, "dataset", "info", "small-images")).toMatchObject({ trust: "verified" });
    expect((await cyxcloud(eve, "public", "remove", "Small Digits")).code).toBe(1);
    await succeed(gateway.owner, "public", "remove", "Small Digits");
    expect(await json(eve, "dataset", "info", "small-images")).toMatchObject({ trust: "self" });
    expect(await succeed(eve, "dataset", "verify", "small-images")).toContain("  No match\n");
  });
});

test("an attestor vouches for a dataset of somebody else, and prints what", async () => {
  await succeed(eve, "upload", "plain", "--bucket", "theirs");
  await json(eve, "dataset", "create", "theirs", "--files", "theirs/plain/*", "--schema", TABLE);
  await json(eve, "dataset", "share", "theirs", "--with", "owner");
  const key = await json<{ public_key: string }>(gateway.owner, "key", "create", "stamp");
  const listed = await succeed(
    gateway.owner,
    "attestors",
    "add",
    "Review board",
    key.public_key,
    "--ttl",
    "30d",
  );
  expect(listed).toMatch(
    /^Attestors \(version 1\)\n {2}In force until: .* UTC\nNAME .*\nReview board +[0-9a-f]{64} +1\n$/,
  );
  expect(await succeed(eve, "attestors", "list")).toBe(listed);
  const attested = await succeed(
    gateway.owner,
    "dataset",
    "attest",
    "eve/theirs",
    "--claim",
    "labels checked",
  );
  expect(attested).toMatch(
    /^Attested: eve\/theirs \(version 1\)\n {2}Claim: labels checked\n {2}Key: stamp .*\n {2}Hash: .*\n {2}Expires: .*\n {2}Trust: attested\n$/,
  );
  expect(await json(eve, "dataset", "info", "theirs")).toMatchObject({ trust: "attested", trust_level: 3 });
  await succeed(gateway.owner, "attestors", "remove", key.public_key);
  expect(await json(eve, "dataset", "info", "theirs")).toMatchObject({ trust: "self" });
});
