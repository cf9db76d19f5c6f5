import { randomBytes } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { packTar } from "modern-tar";
import { blake3 } from "@noble/hashes/blake3.js";
import { bytesToHex } from "@noble/hashes/utils.js";
import { startGateway, type TestGateway } from "../support/gateway.ts";
import { type DocumentedClient, documentedClient, type JsonAnswer } from "./documented.ts";
import { addUser } from "./users.ts";

const FILES = 30;

let gateway: TestGateway;
let client: DocumentedClient;
let stranger: Record<string, string>;
beforeAll(async () => {
  gateway = await startGateway();
  client = await documentedClient(gateway);
  stranger = { authorization: `Bearer ${(await addUser(gateway, "stranger")).apiKey}` };
  await client.json("PUT", "/api/buckets/data", { chunk_bytes: 16_384 });
  const { body } = await client.json("POST", "/api/uploads", {
    bucket: "data",
    kind: "tar",
    prefix: "train/",
  });
  const tar = await packTar(
    Array.from({ length: FILES }, (_, index) => {
      const name = `${index % 3}/${String(index).padStart(3, "0")}.bin`;
      return { header: { name, size: 100 + index, type: "file" as const }, body: randomBytes(100 + index) };
    }),
  );
  await client.request(`/api/uploads/${body.upload_id}/parts/1`, {
    method: "PUT",
    body: tar,
  });
  await client.json("POST", `/api/uploads/${body.upload_id}/complete`, { parts: 1 });
});
afterAll(() => gateway.stop());

const creation = {
  name: "digits",
  files: ["data/train/**"],
  schema: { type: "bytes", format: "bin", labels: "path" },
};

/** Asks until the job has ended: each answer is a state further on, or the same. */
async function ended(jobId: string): Promise<JsonAnswer["body"]> {
  for (;;) {
    const { body } = await client.json("GET", `/api/jobs/${jobId}`);
    if (body.state === "succeeded" || body.state === "failed") return body;
  }
}

const withoutId = ({ status, body }: JsonAnswer): unknown => ({ status, ...body, request_id: undefined });

describe("a dataset", () => {
  test("is created by a job, and described, listed and paged", async () => {
    const started = await client.json("POST", "/api/datasets", creation);
    expect(started).toMatchObject({ status: 202 });
    expect(await ended(started.body.job_id as string)).toMatchObject({
      kind: "create_dataset",
      state: "succeeded",
      error: null,
      result: { name: "digits", version: 1 },
    });
    expect((await client.json("GET", "/api/jobs")).body.jobs).toHaveLength(1);
    expect(await client.json("GET", `/api/jobs/${started.body.job_id}`, undefined, stranger)).toMatchObject({
      status: 404,
    });

    const info = await client.json("GET", "/api/datasets/digits");
    expect(info).toMatchObject({
      status: 200,
      body: {
        name: "digits",
        owner: "owner",
        version: 1,
        parent_id: null,
        file_count: FILES,
        trust_level: 0,
      },
    });
    for (const ref of [
      info.body.id,
      "owner%2Fdigits",
      "digits@1",
      `digits@blake3:${info.body.content_hash}`,
    ]) {
      expect((await client.json("GET", `/api/datasets/${ref}`)).body, ref).toEqual(info.body);
    }
    expect(
      (await client.json("GET", "/api/datasets?search=dig&max_trust_level=0")).body.datasets,
    ).toHaveLength(1);
    expect((await client.json("GET", "/api/datasets?search=nothing")).body.datasets).toEqual([]);
    expect((await client.json("GET", "/api/datasets/digits/versions")).status).toBe(200);

    const paths: string[] = [];
    for (let query = "?limit=7"; query !== "";) {
      const page = await client.json("GET", `/api/datasets/digits/files${query}`);
      paths.push(...page.body.files.map(({ path }: { path: string }) => path));
      query = page.body.next_cursor === null ? "" : `?limit=7&cursor=${page.body.next_cursor}`;
    }
    expect(paths).toHaveLength(FILES);
    expect(paths).toEqual(paths.toSorted());
  });

  test("has a manifest that hashes to its content hash, whole, in ranges and in pages", async () => {
    const { body: info } = await client.json("GET", "/api/datasets/digits");
    const whole = await client.request("/api/datasets/digits/manifest");
    const manifest = new Uint8Array(await whole.arrayBuffer());
    expect(whole.headers.get("cache-control")).toMatch(/^private/);
    expect(manifest).toHaveLength(info.manifest_size_bytes as number);
    expect(bytesToHex(blake3(manifest))).toBe(info.content_hash);
    const range = await client.request("/api/datasets/digits/manifest", {
      headers: { range: "bytes=64-111" },
    });
    expect(range.status).toBe(206);
    expect(new Uint8Array(await range.arrayBuffer())).toEqual(manifest.slice(64, 112));
    const page = await client.json("GET", "/api/datasets/digits/manifest/pages/0");
    expect(Buffer.from(page.body.data as string, "base64")).toEqual(Buffer.from(manifest));
    expect((await client.json("GET", "/api/datasets/digits/manifest/pages/1")).status).toBe(400);
  });

  test("is verified at once, or by a job where every byte is read", async () => {
    for (const depth of ["manifest", "stored"]) {
      const answer = await client.json("POST", "/api/datasets/digits/verify", { depth });
      expect(answer).toMatchObject({ status: 200, body: { depth, manifest_valid: true, files_failed: 0 } });
    }
    const full = await client.json("POST", "/api/datasets/digits/verify", { depth: "full" });
    expect(full.status).toBe(202);
    expect(await ended(full.body.job_id as string)).toMatchObject({
      state: "succeeded",
      result: { all_files_valid: true, files_checked: FILES },
    });
  });

  test("is to a stranger as if it did not exist", async () => {
    const routes = [
      ["GET", ""],
      ["GET", "/files"],
      ["GET", "/manifest"],
      ["GET", "/manifest/pages/0"],
      ["GET", "/versions"],
      ["DELETE", ""],
      ["POST", "/verify", { depth: "manifest" }],
      ["POST", "/tokens", { scopes: ["read"] }],
    ] as const;
    for (const [method, path, body] of routes) {
      const theirs = await client.json(method, `/api/datasets/owner%2Fdigits${path}`, body, stranger);
      const none = await client.json(method, `/api/datasets/owner%2Fnothing${path}`, body, stranger);
      expect(theirs.status, `${method} ${path}`).toBeGreaterThanOrEqual(400);
      expect(withoutId(theirs), `${method} ${path}`).toEqual(withoutId(none));
    }
    expect((await client.json("GET", "/api/datasets", undefined, stranger)).body.datasets).toEqual([]);
  });

  test.for([
    [{ name: "Not Valid" }, "name"],
    [{ name: "" }, "name"],
    [{ files: [] }, "files"],
    [{ files: ["nothing/x"] }, "files"],
    [{ schema: "not json" }, "schema"],
    [{ extra: 1 }, "extra"],
  ] as const)("is refused with %j", async ([change, field]) => {
    const answer = await client.json("POST", "/api/datasets", { ...creation, ...change });
    expect(answer).toMatchObject({ status: 400, body: { code: "invalid_argument" } });
    expect(answer.body.field).toMatch(new RegExp(`^${field}`));
  });
});

describe("an access token", () => {
  test("opens one version for reading until it is revoked, and is shown once, uncached", async () => {
    const issued = await client.json("POST", "/api/datasets/digits/tokens", { scopes: ["read", "stream"] });
    expect(issued).toMatchObject({ status: 201, body: { dataset: "digits", scopes: ["read", "stream"] } });
    expect(issued.headers.get("cache-control")).toBe("no-store");
    const { id, token } = issued.body as { id: string; token: string };
    const bearer = { authorization: `Bearer ${token}` };
    expect(await client.json("POST", "/api/tokens/verify", { token })).toMatchObject({
      body: { valid: true },
    });
    for (const path of ["", "/files", "/manifest/pages/0"]) {
      expect((await client.json("GET", `/api/datasets/digits${path}`, undefined, bearer)).status, path).toBe(
        200,
      );
    }
    // It is no API key.
    for (const path of ["/api/buckets", "/api/datasets", "/api/jobs", "/api/objects/data/train/0/000.bin"]) {
      expect((await client.json("GET", path, undefined, bearer)).status, path).toBe(401);
    }
    expect(await client.json("DELETE", `/api/tokens/${id}`, undefined, stranger)).toMatchObject({
      status: 404,
    });
    expect(await client.json("DELETE", `/api/tokens/${id}`)).toMatchObject({ status: 204 });
    expect(await client.json("POST", "/api/tokens/verify", { token })).toMatchObject({
      body: { valid: false },
    });
    expect(await client.json("GET", "/api/datasets/digits", undefined, bearer)).toMatchObject({
      status: 401,
    });
  });

  test("has public keys, and nothing of the private ones", async () => {
    const { body } = await client.json("GET", "/.well-known/jwks.json");
    expect(body.keys).toHaveLength(1);
    expect(body.keys[0]).toMatchObject({ kty: "OKP", crv: "Ed25519" });
    expect(body.keys[0]).not.toHaveProperty("d");
  });

  test.for([
    [{ scopes: [] }, "scopes"],
    [{ scopes: ["write"] }, "scopes"],
    [{ scopes: ["read"], ttl_seconds: 59 }, "ttl_seconds"],
    [{ scopes: ["read"], ttl_seconds: 30 * 86_400 + 1 }, "ttl_seconds"],
  ] as const)("is refused with %j", async ([body, field]) => {
    const answer = await client.json("POST", "/api/datasets/digits/tokens", body);
    expect(answer).toMatchObject({ status: 400, body: { code: "invalid_argument", field } });
  });
});

test("a deleted dataset is gone, its objects are not", async () => {
  expect(await client.json("DELETE", "/api/datasets/digits")).toMatchObject({ status: 204 });
  expect(await client.json("GET", "/api/datasets/digits")).toMatchObject({ status: 404 });
  expect((await client.request("/api/objects/data/train/0/000.bin")).status).toBe(200);
  await gateway.dispatchScheduled();
  expect((await client.request("/api/objects/data/train/0/000.bin")).status).toBe(200);
});
