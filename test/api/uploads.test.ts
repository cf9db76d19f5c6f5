import { createHash, randomBytes } from "node:crypto";
import { blake3 } from "@noble/hashes/blake3.js";
import { bytesToHex } from "@noble/hashes/utils.js";
import { packTar } from "modern-tar";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type UploadSteps, uploadSteps } from "./upload-steps.ts";

const MIB = 1024 * 1024;

let steps: UploadSteps;
beforeAll(async () => {
  steps = await uploadSteps();
});
afterAll(() => steps.gateway.stop());

const hash = (bytes: Uint8Array): string => bytesToHex(blake3(bytes));
const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

describe("an object", () => {
  const PART = 65_536;
  const bytes = randomBytes(2 * PART + 12_345);
  const parts = [bytes.subarray(0, PART), bytes.subarray(PART, 2 * PART), bytes.subarray(2 * PART)];

  test("of several parts, sent in any order, reads back byte for byte", async () => {
    const upload = await steps.begin({ kind: "object", key: "deep/folder/object.bin", part_bytes: PART });
    for (const number of [3, 1, 2]) {
      const part = parts[number - 1] as Buffer;
      expect(await steps.put(upload, number, part)).toMatchObject({
        status: 200,
        body: { part_number: number, size: part.length, content_hash: hash(part) },
      });
      expect(await steps.keys("deep/")).toEqual([]);
    }
    const described = await steps.client.json("GET", `/api/uploads/${upload}`);
    expect(described.body).toMatchObject({ state: "open", kind: "object", part_bytes: PART, bucket: "data" });
    expect(described.body.parts.map((part: { part_number: number }) => part.part_number)).toEqual([1, 2, 3]);

    const result = await steps.complete(upload, 3, { content_hash: hash(bytes) });
    expect(result).toMatchObject({
      status: 200,
      body: {
        objects: 1,
        bytes: bytes.length,
        degraded_chunks: 0,
        object: {
          bucket: "data",
          key: "deep/folder/object.bin",
          size: bytes.length,
          content_hash: hash(bytes),
        },
      },
    });
    expect((await steps.complete(upload, 3)).body).toEqual(result.body);
    expect((await steps.client.json("GET", `/api/uploads/${upload}`)).body).toMatchObject({
      state: "completed",
      result: result.body,
    });
    expect(await steps.client.json("DELETE", `/api/uploads/${upload}`)).toMatchObject({ status: 409 });

    const { response, bytes: read } = await steps.download("deep/folder/object.bin");
    expect(response.status).toBe(200);
    expect(Object.fromEntries(response.headers)).toMatchObject({
      "content-type": "application/octet-stream",
      "content-length": `${bytes.length}`,
      "cache-control": "private, no-cache",
      "accept-ranges": "bytes",
      etag: `"${hash(bytes)}"`,
    });
    expect(read.equals(bytes)).toBe(true);
  });

  test("is answered in ranges, and by its ETag", async () => {
    const size = bytes.length;
    const spans = [
      ["bytes=0-0", 0, 1],
      ["bytes=16383-16384", 16_383, 16_385],
      ["bytes=100000-", 100_000, size],
      ["bytes=-7", size - 7, size],
      [`bytes=-${2 * size}`, 0, size],
      [`bytes=5-${10 * size}`, 5, size],
    ] as const;
    for (const [range, start, end] of spans) {
      const { response, bytes: read } = await steps.download("deep/folder/object.bin", { range });
      expect(response.status, range).toBe(206);
      expect(response.headers.get("content-range"), range).toBe(`bytes ${start}-${end - 1}/${size}`);
      expect(response.headers.get("content-length"), range).toBe(`${end - start}`);
      expect(read.equals(bytes.subarray(start, end)), range).toBe(true);
    }
    for (const range of [`bytes=${size}-`, "bytes=-0"]) {
      const { response, bytes: problem } = await steps.download("deep/folder/object.bin", { range });
      expect(response.status, range).toBe(416);
      expect(response.headers.get("content-range")).toBe(`bytes */${size}`);
      expect(JSON.parse(problem.toString())).toMatchObject({
        code: "invalid_argument",
        field: "Range",
        limit: size,
      });
    }
    for (const range of ["bytes=5-4", "items=0-1", "bytes=0-1,4-5", "nonsense"]) {
      expect((await steps.download("deep/folder/object.bin", { range })).response.status, range).toBe(200);
    }
    const etag = `"${hash(bytes)}"`;
    for (const condition of [etag, `W/${etag}`, `"other", ${etag}`, "*"]) {
      const { response, bytes: read } = await steps.download("deep/folder/object.bin", {
        "if-none-match": condition,
      });
      expect(response.status, condition).toBe(304);
      expect(response.headers.get("etag")).toBe(etag);
      expect(read).toHaveLength(0);
    }
    expect(
      (await steps.download("deep/folder/object.bin", { "if-none-match": '"other"' })).response.status,
    ).toBe(200);
    const resumed = { range: "bytes=1-2", "if-range": etag };
    expect((await steps.download("deep/folder/object.bin", resumed)).response.status).toBe(206);
    const changed = { range: "bytes=1-2", "if-range": '"other"' };
    expect((await steps.download("deep/folder/object.bin", changed)).response.status).toBe(200);
  });

  test("is described by HEAD", async () => {
    const response = await steps.client.request("/api/objects/data/deep/folder/object.bin", {
      method: "HEAD",
    });
    expect(response.status).toBe(200);
    expect(response.headers.get("content-length")).toBe(`${bytes.length}`);
    expect(response.headers.get("etag")).toBe(`"${hash(bytes)}"`);
    expect(await response.text()).toBe("");
    const missing = await steps.client.request("/api/objects/data/missing", { method: "HEAD" });
    expect(missing.status).toBe(404);
  });

  test("of one part has a SHA-256, and is refused where it is not the expected one", async () => {
    const small = Buffer.from("hello");
    const wrong = await steps.begin({ kind: "object", key: "small", sha256: sha256(Buffer.from("other")) });
    await steps.put(wrong, 1, small);
    expect(await steps.complete(wrong, 1)).toMatchObject({ status: 400, body: { field: "sha256" } });
    expect(await steps.keys("small")).toEqual([]);

    const upload = await steps.begin({ kind: "object", key: "small", sha256: sha256(small) });
    await steps.put(upload, 1, small);
    expect(await steps.complete(upload, 1)).toMatchObject({ body: { object: { sha256: sha256(small) } } });
    const { response, bytes: read } = await steps.download("small");
    expect(read.toString()).toBe("hello");
    expect(response.headers.get("x-cyxcloud-sha256")).toBe(sha256(small));
  });

  test("of full chunks in the default geometry and part size reads back, also across parts", async () => {
    await steps.client.json("PUT", "/api/buckets/large");
    const large = randomBytes(33 * MIB + 5);
    const begun = await steps.client.json("POST", "/api/uploads", {
      bucket: "large",
      kind: "object",
      key: "large",
    });
    const partBytes = begun.body.part_bytes as number;
    const upload = begun.body.upload_id as string;
    const count = Math.ceil(large.length / partBytes);
    await Promise.all(
      Array.from({ length: count }, (_, index) =>
        steps.put(upload, index + 1, large.subarray(index * partBytes, (index + 1) * partBytes)),
      ),
    );
    expect(await steps.complete(upload, count, { content_hash: hash(large) })).toMatchObject({
      status: 200,
      body: { bytes: large.length, degraded_chunks: 0 },
    });
    const whole = await steps.client.request("/api/objects/large/large");
    expect(Buffer.from(await whole.arrayBuffer()).equals(large)).toBe(true);
    const range = { start: partBytes - 3, end: 2 * partBytes + 3 };
    const span = await steps.client.request("/api/objects/large/large", {
      headers: { range: `bytes=${range.start}-${range.end - 1}` },
    });
    expect(span.status).toBe(206);
    expect(Buffer.from(await span.arrayBuffer()).equals(large.subarray(range.start, range.end))).toBe(true);
  });

  test("may be empty", async () => {
    const upload = await steps.begin({ kind: "object", key: "empty" });
    expect(await steps.put(upload, 1, new Uint8Array())).toMatchObject({ status: 200, body: { size: 0 } });
    expect(await steps.complete(upload, 1)).toMatchObject({ status: 200, body: { object: { size: 0 } } });
    const { response, bytes: read } = await steps.download("empty");
    expect(response.status).toBe(200);
    expect(response.headers.get("content-length")).toBe("0");
    expect(read).toHaveLength(0);
    expect((await steps.download("empty", { range: "bytes=0-" })).response.status).toBe(416);
  });

  test("replaces what its key named, and is gone when it is deleted", async () => {
    for (const text of ["first", "second"]) {
      const upload = await steps.begin({ kind: "object", key: "again" });
      await steps.put(upload, 1, Buffer.from(text));
      await steps.complete(upload, 1);
      expect((await steps.download("again")).bytes.toString()).toBe(text);
    }
    expect(await steps.client.json("DELETE", "/api/objects/data/again")).toMatchObject({ status: 204 });
    expect(await steps.client.json("GET", "/api/objects/data/again")).toMatchObject({
      status: 404,
      body: { code: "not_found", field: "key" },
    });
    expect(await steps.client.json("DELETE", "/api/objects/data/again")).toMatchObject({ status: 204 });
  });
});

describe("a tar", () => {
  const files = Array.from({ length: 60 }, (_, index) => ({
    key: `train/${index % 3}/${String(index).padStart(3, "0")}.bin`,
    bytes: randomBytes(index * 131),
  })).toSorted((a, b) => (a.key < b.key ? -1 : 1));
  const tar = (some: typeof files): Promise<Uint8Array> =>
    packTar(
      some.map(({ key, bytes }) => ({
        header: { name: key.slice("train/".length), size: bytes.length, type: "file" as const },
        body: bytes as Uint8Array<ArrayBuffer>,
      })),
    );

  test("of many files becomes one object each, all at once", async () => {
    const upload = await steps.begin({ kind: "tar", prefix: "train/" });
    const halves = [files.slice(0, 30), files.slice(30)];
    for (const [index, half] of halves.entries()) {
      const body = await tar(half);
      expect(await steps.put(upload, index + 1, body)).toMatchObject({
        status: 200,
        body: { size: body.length, file_count: half.length },
      });
    }
    expect(await steps.keys("train/")).toEqual([]);
    expect(await steps.complete(upload, 2)).toMatchObject({
      status: 200,
      body: { objects: 60, bytes: files.reduce((sum, { bytes }) => sum + bytes.length, 0) },
    });
    expect(await steps.keys("train/")).toEqual(files.map(({ key }) => key));
    for (const { key, bytes } of files) {
      expect((await steps.download(key)).bytes.equals(bytes), key).toBe(true);
    }
  });

  test("is listed in pages", async () => {
    const seen: string[] = [];
    let cursor: string | null = null;
    do {
      const query: string = `bucket=data&prefix=train%2F&limit=25${cursor === null ? "" : `&cursor=${cursor}`}`;
      const page = await steps.client.json("GET", `/api/objects?${query}`);
      seen.push(...page.body.objects.map(({ key }: { key: string }) => key));
      cursor = page.body.next_cursor as string | null;
    } while (cursor !== null);
    expect(seen).toEqual(files.map(({ key }) => key));
  });

  test("is deleted in bulk", async () => {
    const some = files.slice(0, 10).map(({ key }) => key);
    const answer = await steps.client.json("POST", "/api/objects/delete", {
      bucket: "data",
      keys: [...some, "train/none"],
    });
    expect(answer).toMatchObject({ status: 200, body: { deleted: 10 } });
    expect(await steps.keys("train/")).toHaveLength(50);
  });
});

test("a cut upload leaves nothing visible, and may be continued", async () => {
  const upload = await steps.begin({ kind: "object", key: "cut" });
  const bytes = randomBytes(3 * MIB);
  await expect(steps.rawPut(upload, bytes.length, bytes.subarray(0, 2 * MIB), "cut")).rejects.toThrow("cut");
  expect(await steps.keys("cut")).toEqual([]);
  expect((await steps.client.json("GET", `/api/uploads/${upload}`)).body).toMatchObject({
    state: "open",
    parts: [],
  });
  expect(await steps.complete(upload, 1)).toMatchObject({ status: 409 });

  expect((await steps.put(upload, 1, bytes)).status).toBe(200);
  expect((await steps.complete(upload, 1)).status).toBe(200);
  expect((await steps.download("cut")).bytes.equals(bytes)).toBe(true);
});

test("an aborted upload takes no part", async () => {
  const upload = await steps.begin({ kind: "object", key: "aborted" });
  await steps.put(upload, 1, Buffer.from("x"));
  for (const _ of [1, 2])
    expect((await steps.client.json("DELETE", `/api/uploads/${upload}`)).status).toBe(204);
  expect(await steps.put(upload, 1, Buffer.from("x"))).toMatchObject({ status: 409 });
  expect(await steps.complete(upload, 1)).toMatchObject({
    status: 409,
    body: { code: "failed_precondition" },
  });
  expect(await steps.keys("aborted")).toEqual([]);
});
