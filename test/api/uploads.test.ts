import { createHash, randomBytes } from "node:crypto";
import { request as httpRequest } from "node:http";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { packTar } from "modern-tar";
import { blake3 } from "@noble/hashes/blake3.js";
import { bytesToHex } from "@noble/hashes/utils.js";
import { startGateway, type TestGateway } from "../support/gateway.ts";
import { type DocumentedClient, documentedClient, type JsonAnswer } from "./documented.ts";
import { addUser } from "./users.ts";

const CHUNK = 16_384;
const MIB = 1024 * 1024;

let gateway: TestGateway;
let client: DocumentedClient;
beforeAll(async () => {
  gateway = await startGateway();
  client = await documentedClient(gateway);
  await client.json("PUT", "/api/buckets/data", { chunk_bytes: CHUNK });
});
afterAll(() => gateway.stop());

const hash = (bytes: Uint8Array): string => bytesToHex(blake3(bytes));
const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

async function begin(body: Record<string, unknown>): Promise<string> {
  const answer = await client.json("POST", "/api/uploads", { bucket: "data", ...body });
  expect(answer).toMatchObject({ status: 201 });
  return answer.body.upload_id as string;
}

async function put(upload: string, part: number | string, bytes: Uint8Array): Promise<JsonAnswer> {
  const response = await client.request(`/api/uploads/${upload}/parts/${part}`, {
    method: "PUT",
    body: bytes as Uint8Array<ArrayBuffer>,
  });
  return { status: response.status, headers: response.headers, body: await response.json() };
}

const complete = (upload: string, parts: number, more: Record<string, unknown> = {}): Promise<JsonAnswer> =>
  client.json("POST", `/api/uploads/${upload}/complete`, { parts, ...more });

const keys = async (prefix: string): Promise<string[]> => {
  const answer = await client.json("GET", `/api/objects?bucket=data&prefix=${encodeURIComponent(prefix)}`);
  return (answer.body.objects as { key: string }[]).map(({ key }) => key);
};

const download = async (
  key: string,
  headers: HeadersInit = {},
): Promise<{ response: Response; bytes: Buffer }> => {
  const response = await client.request(`/api/objects/data/${key}`, { headers });
  return { response, bytes: Buffer.from(await response.arrayBuffer()) };
};

describe("an object", () => {
  const PART = 65_536;
  const bytes = randomBytes(2 * PART + 12_345);
  const parts = [bytes.subarray(0, PART), bytes.subarray(PART, 2 * PART), bytes.subarray(2 * PART)];

  test("of several parts, sent in any order, reads back byte for byte", async () => {
    const upload = await begin({ kind: "object", key: "deep/folder/object.bin", part_bytes: PART });
    for (const number of [3, 1, 2]) {
      const part = parts[number - 1] as Buffer;
      expect(await put(upload, number, part)).toMatchObject({
        status: 200,
        body: { part_number: number, size: part.length, content_hash: hash(part) },
      });
      expect(await keys("deep/")).toEqual([]);
    }
    const described = await client.json("GET", `/api/uploads/${upload}`);
    expect(described.body).toMatchObject({ state: "open", kind: "object", part_bytes: PART, bucket: "data" });
    expect(described.body.parts.map((part: { part_number: number }) => part.part_number)).toEqual([1, 2, 3]);

    const result = await complete(upload, 3, { content_hash: hash(bytes) });
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
    expect((await complete(upload, 3)).body).toEqual(result.body);
    expect((await client.json("GET", `/api/uploads/${upload}`)).body).toMatchObject({
      state: "completed",
      result: result.body,
    });
    expect(await client.json("DELETE", `/api/uploads/${upload}`)).toMatchObject({ status: 409 });

    const { response, bytes: read } = await download("deep/folder/object.bin");
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
      const { response, bytes: read } = await download("deep/folder/object.bin", { range });
      expect(response.status, range).toBe(206);
      expect(response.headers.get("content-range"), range).toBe(`bytes ${start}-${end - 1}/${size}`);
      expect(response.headers.get("content-length"), range).toBe(`${end - start}`);
      expect(read.equals(bytes.subarray(start, end)), range).toBe(true);
    }
    for (const range of [`bytes=${size}-`, "bytes=-0"]) {
      const { response, bytes: problem } = await download("deep/folder/object.bin", { range });
      expect(response.status, range).toBe(416);
      expect(response.headers.get("content-range")).toBe(`bytes */${size}`);
      expect(JSON.parse(problem.toString())).toMatchObject({
        code: "invalid_argument",
        field: "Range",
        limit: size,
      });
    }
    for (const range of ["bytes=5-4", "items=0-1", "bytes=0-1,4-5", "nonsense"]) {
      expect((await download("deep/folder/object.bin", { range })).response.status, range).toBe(200);
    }
    const etag = `"${hash(bytes)}"`;
    for (const condition of [etag, `W/${etag}`, `"other", ${etag}`, "*"]) {
      const { response, bytes: read } = await download("deep/folder/object.bin", {
        "if-none-match": condition,
      });
      expect(response.status, condition).toBe(304);
      expect(response.headers.get("etag")).toBe(etag);
      expect(read).toHaveLength(0);
    }
    expect((await download("deep/folder/object.bin", { "if-none-match": '"other"' })).response.status).toBe(
      200,
    );
    const resumed = { range: "bytes=1-2", "if-range": etag };
    expect((await download("deep/folder/object.bin", resumed)).response.status).toBe(206);
    const changed = { range: "bytes=1-2", "if-range": '"other"' };
    expect((await download("deep/folder/object.bin", changed)).response.status).toBe(200);
  });

  test("is described by HEAD", async () => {
    const response = await client.request("/api/objects/data/deep/folder/object.bin", { method: "HEAD" });
    expect(response.status).toBe(200);
    expect(response.headers.get("content-length")).toBe(`${bytes.length}`);
    expect(response.headers.get("etag")).toBe(`"${hash(bytes)}"`);
    expect(await response.text()).toBe("");
    const missing = await client.request("/api/objects/data/missing", { method: "HEAD" });
    expect(missing.status).toBe(404);
  });

  test("of one part has a SHA-256, and is refused where it is not the expected one", async () => {
    const small = Buffer.from("hello");
    const wrong = await begin({ kind: "object", key: "small", sha256: sha256(Buffer.from("other")) });
    await put(wrong, 1, small);
    expect(await complete(wrong, 1)).toMatchObject({ status: 400, body: { field: "sha256" } });
    expect(await keys("small")).toEqual([]);

    const upload = await begin({ kind: "object", key: "small", sha256: sha256(small) });
    await put(upload, 1, small);
    expect(await complete(upload, 1)).toMatchObject({ body: { object: { sha256: sha256(small) } } });
    const { response, bytes: read } = await download("small");
    expect(read.toString()).toBe("hello");
    expect(response.headers.get("x-cyxcloud-sha256")).toBe(sha256(small));
  });

  test("of full chunks in the default geometry and part size reads back, also across parts", async () => {
    await client.json("PUT", "/api/buckets/large");
    const large = randomBytes(33 * MIB + 5);
    const begun = await client.json("POST", "/api/uploads", {
      bucket: "large",
      kind: "object",
      key: "large",
    });
    const partBytes = begun.body.part_bytes as number;
    const upload = begun.body.upload_id as string;
    const count = Math.ceil(large.length / partBytes);
    await Promise.all(
      Array.from({ length: count }, (_, index) =>
        put(upload, index + 1, large.subarray(index * partBytes, (index + 1) * partBytes)),
      ),
    );
    expect(await complete(upload, count, { content_hash: hash(large) })).toMatchObject({
      status: 200,
      body: { bytes: large.length, degraded_chunks: 0 },
    });
    const whole = await client.request("/api/objects/large/large");
    expect(Buffer.from(await whole.arrayBuffer()).equals(large)).toBe(true);
    const range = { start: partBytes - 3, end: 2 * partBytes + 3 };
    const span = await client.request("/api/objects/large/large", {
      headers: { range: `bytes=${range.start}-${range.end - 1}` },
    });
    expect(span.status).toBe(206);
    expect(Buffer.from(await span.arrayBuffer()).equals(large.subarray(range.start, range.end))).toBe(true);
  });

  test("may be empty", async () => {
    const upload = await begin({ kind: "object", key: "empty" });
    expect(await put(upload, 1, new Uint8Array())).toMatchObject({ status: 200, body: { size: 0 } });
    expect(await complete(upload, 1)).toMatchObject({ status: 200, body: { object: { size: 0 } } });
    const { response, bytes: read } = await download("empty");
    expect(response.status).toBe(200);
    expect(response.headers.get("content-length")).toBe("0");
    expect(read).toHaveLength(0);
    expect((await download("empty", { range: "bytes=0-" })).response.status).toBe(416);
  });

  test("replaces what its key named, and is gone when it is deleted", async () => {
    for (const text of ["first", "second"]) {
      const upload = await begin({ kind: "object", key: "again" });
      await put(upload, 1, Buffer.from(text));
      await complete(upload, 1);
      expect((await download("again")).bytes.toString()).toBe(text);
    }
    expect(await client.json("DELETE", "/api/objects/data/again")).toMatchObject({ status: 204 });
    expect(await client.json("GET", "/api/objects/data/again")).toMatchObject({
      status: 404,
      body: { code: "not_found", field: "key" },
    });
    expect(await client.json("DELETE", "/api/objects/data/again")).toMatchObject({ status: 204 });
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
    const upload = await begin({ kind: "tar", prefix: "train/" });
    const halves = [files.slice(0, 30), files.slice(30)];
    for (const [index, half] of halves.entries()) {
      const body = await tar(half);
      expect(await put(upload, index + 1, body)).toMatchObject({
        status: 200,
        body: { size: body.length, file_count: half.length },
      });
    }
    expect(await keys("train/")).toEqual([]);
    expect(await complete(upload, 2)).toMatchObject({
      status: 200,
      body: { objects: 60, bytes: files.reduce((sum, { bytes }) => sum + bytes.length, 0) },
    });
    expect(await keys("train/")).toEqual(files.map(({ key }) => key));
    for (const { key, bytes } of files) {
      expect((await download(key)).bytes.equals(bytes), key).toBe(true);
    }
  });

  test("is listed in pages", async () => {
    const seen: string[] = [];
    let cursor: string | null = null;
    do {
      const query: string = `bucket=data&prefix=train%2F&limit=25${cursor === null ? "" : `&cursor=${cursor}`}`;
      const page = await client.json("GET", `/api/objects?${query}`);
      seen.push(...page.body.objects.map(({ key }: { key: string }) => key));
      cursor = page.body.next_cursor as string | null;
    } while (cursor !== null);
    expect(seen).toEqual(files.map(({ key }) => key));
  });

  test("is deleted in bulk", async () => {
    const some = files.slice(0, 10).map(({ key }) => key);
    const answer = await client.json("POST", "/api/objects/delete", {
      bucket: "data",
      keys: [...some, "train/none"],
    });
    expect(answer).toMatchObject({ status: 200, body: { deleted: 10 } });
    expect(await keys("train/")).toHaveLength(50);
  });
});

describe("what is refused, by name and limit", () => {
  const LONG = "x".repeat(1025);
  const named = ([key = "", reason = ""]: string[]): { label: string; key: string; reason: string } => {
    return {
      label: key.length > 40 ? `${key.slice(0, 9)}… (${key.length})` : JSON.stringify(key),
      key,
      reason,
    };
  };
  test.for(
    [
      ["../up", ".."],
      ["a/../b", ".."],
      ["a/./b", "'.'"],
      ["a//b", "empty segment"],
      ["/a", "starts with"],
      ["a/", "empty segment"],
      ["a\0b", "NUL"],
      ["a\u0007b", "control character"],
      ["a\u0085b", "control character"],
      ["e\u0301", "NFC"],
      [LONG, "1024"],
      ["é".repeat(513), "1024"],
      ["", ""],
    ].map(named),
  )("the key $label", async ({ key, reason }) => {
    const answer = await client.json("POST", "/api/uploads", { bucket: "data", kind: "object", key });
    expect(answer).toMatchObject({ status: 400, body: { code: "invalid_argument", field: "key" } });
    expect(answer.body.detail).toContain(reason);
    const many = await client.json("POST", "/api/objects/delete", { bucket: "data", keys: ["fine", key] });
    expect(many).toMatchObject({ status: 400, body: { code: "invalid_argument", field: "keys.1" } });
  });

  test.for(
    [
      ["..%2f..%2fetc", ".."],
      ["a%2f..%2fb", ".."],
      ["a%2f%2e%2e%2fb", ".."],
      ["a%00b", "NUL"],
      ["a%0ab", "control character"],
      ["a%ffb", "percent-encoding"],
      ["a%2", "percent-encoding"],
      [LONG, "1024"],
    ].map(named),
  )("the address $label", async ({ key, reason }) => {
    for (const method of ["GET", "DELETE"]) {
      const answer = await client.json(method, `/api/objects/data/${key}`);
      expect(answer).toMatchObject({ status: 400, body: { code: "invalid_argument", field: "key" } });
      expect(answer.body.detail).toContain(reason);
    }
  });

  test("keys may hold every other character", async () => {
    const key = "ünï/a b+c%d?e#f&g=h;i\"j'k\\l~(1)[2]{3}.png";
    const upload = await begin({ kind: "object", key });
    await put(upload, 1, Buffer.from("x"));
    expect((await complete(upload, 1)).status).toBe(200);
    expect(await keys("ünï/")).toEqual([key]);
    expect((await download(key.split("/").map(encodeURIComponent).join("/"))).bytes.toString()).toBe("x");
    expect((await download(encodeURIComponent(key))).bytes.toString()).toBe("x");
    expect((await client.json("DELETE", `/api/objects/data/${encodeURIComponent(key)}`)).status).toBe(204);
    expect(await keys("ünï/")).toEqual([]);
  });

  test.for([
    [{ kind: "object" }, "key"],
    [{ kind: "zip", key: "a" }, "kind"],
    [{ kind: "object", key: "a", prefix: "b" }, "prefix"],
    [{ kind: "object", key: "a", sha256: "abc" }, "sha256"],
    [{ kind: "object", key: "a", part_bytes: 1000 }, "part_bytes"],
    [{ kind: "object", key: "a", part_bytes: 3000 }, "part_bytes"],
    [{ kind: "object", key: "a", part_bytes: 2 ** 27 }, "part_bytes"],
    [{ kind: "tar", prefix: "../" }, "prefix"],
    [{ kind: "tar", prefix: "a\0" }, "prefix"],
    [{ kind: "object", key: "a", bucket: "No Bucket" }, "bucket"],
  ] as const)("the upload %j", async ([body, field]) => {
    const answer = await client.json("POST", "/api/uploads", { bucket: "data", ...body });
    expect(answer).toMatchObject({ status: 400, body: { code: "invalid_argument", field } });
  });

  test.for([
    ["limit=0", "limit", 1],
    ["limit=1001", "limit", 1000],
    ["limit=ten", "limit", undefined],
    ["cursor=%00", "cursor", undefined],
    ["cursor=AA", "cursor", undefined],
    ["prefix=a%00", "prefix", undefined],
    ["prefx=a", "prefx", undefined],
  ] as const)("the list %s", async ([query, field, limit]) => {
    const answer = await client.json("GET", `/api/objects?bucket=data&${query}`);
    expect(answer).toMatchObject({ status: 400, body: { code: "invalid_argument", field } });
    expect(answer.body.limit).toBe(limit);
  });

  test("a bulk delete of more than 1,000 keys", async () => {
    const answer = await client.json("POST", "/api/objects/delete", {
      bucket: "data",
      keys: Array.from({ length: 1001 }, (_, index) => `${index}`),
    });
    expect(answer).toMatchObject({ status: 400, body: { field: "keys", limit: 1000 } });
  });

  test.for([["../evil"], ["a/../../b"], ["/absolute"], ["bell\u0007"], [`${"x/".repeat(600)}y`]].map(named))(
    "a tar with the path $label",
    async ({ key: name }) => {
      const upload = await begin({ kind: "tar", prefix: "evil/" });
      const body = await packTar([{ header: { name, size: 1, type: "file" }, body: "x" }]);
      expect(await put(upload, 1, body)).toMatchObject({ status: 400, body: { code: "invalid_argument" } });
      expect(await keys("evil/")).toEqual([]);
    },
  );

  test("a tar with the same path twice, in one part or in two", async () => {
    const twice = { header: { name: "same.txt", size: 1, type: "file" as const }, body: "x" };
    const one = await begin({ kind: "tar", prefix: "twice/" });
    const refused = await put(one, 1, await packTar([twice, twice]));
    expect(refused).toMatchObject({ status: 400, body: { code: "invalid_argument" } });
    expect(refused.body.detail).toContain("same.txt");
    const two = await begin({ kind: "tar", prefix: "twice/" });
    expect((await put(two, 1, await packTar([twice]))).status).toBe(200);
    const second = await put(two, 2, await packTar([twice]));
    expect(second).toMatchObject({ status: 400, body: { code: "invalid_argument" } });
    expect(second.body.detail).toContain("same.txt");
  });

  test("a part without a length", async () => {
    const upload = await begin({ kind: "object", key: "streamed" });
    const response = await client.request(`/api/uploads/${upload}/parts/1`, {
      method: "PUT",
      body: new Blob(["x".repeat(100_000)]).stream(),
      duplex: "half",
    } as RequestInit);
    expect(response.status).toBe(411);
    expect(await response.json()).toMatchObject({ code: "invalid_argument", field: "Content-Length" });
  });

  test("a part over 64 MiB, before a byte of it is read", async () => {
    const upload = await begin({ kind: "tar", prefix: "" });
    const answer = await rawPut(upload, 64 * MIB + 1, Buffer.alloc(0));
    expect(answer).toMatchObject({
      status: 413,
      body: { code: "invalid_argument", field: "body", limit: 64 * MIB },
    });
  });

  test.for(["0", "100001", "1.5", "x", "-1"])("the part number %s", async (part) => {
    const upload = await begin({ kind: "object", key: "numbers" });
    expect(await put(upload, part, Buffer.from("x"))).toMatchObject({ status: 400, body: { field: "part" } });
  });

  test("a completion with missing, further or short parts, or another hash", async () => {
    const upload = await begin({ kind: "object", key: "incomplete", part_bytes: 1024 });
    expect(await complete(upload, 0)).toMatchObject({ status: 400, body: { field: "parts" } });
    await put(upload, 2, Buffer.from("x"));
    expect(await complete(upload, 2)).toMatchObject({ status: 409, body: { code: "failed_precondition" } });
    await put(upload, 1, Buffer.from("short"));
    expect(await complete(upload, 2)).toMatchObject({
      status: 409,
      body: { part_number: 1, part_bytes: 1024 },
    });
    await put(upload, 1, Buffer.alloc(1024));
    expect(await complete(upload, 1)).toMatchObject({ status: 400, body: { field: "parts" } });
    expect(await complete(upload, 2, { content_hash: "0".repeat(64) })).toMatchObject({
      status: 400,
      body: { field: "content_hash" },
    });
    expect(await keys("incomplete")).toEqual([]);
    expect((await complete(upload, 2)).status).toBe(200);
  });

  test("what belongs to another user, as if it did not exist", async () => {
    const stranger = await addUser(gateway, "stranger");
    const headers = { authorization: `Bearer ${stranger.apiKey}` };
    const upload = await begin({ kind: "object", key: "mine" });
    const nobodys = "00000000-0000-4000-8000-000000000000";
    const withoutId = ({ status, body }: JsonAnswer): unknown => ({ status, ...body, request_id: undefined });
    for (const [method, path] of [
      ["GET", "/api/uploads/ID"],
      ["DELETE", "/api/uploads/ID"],
    ] as const) {
      const theirs = await client.json(method, path.replace("ID", upload), undefined, headers);
      const none = await client.json(method, path.replace("ID", nobodys), undefined, headers);
      expect(theirs.status).toBe(404);
      expect(withoutId(theirs)).toEqual(withoutId(none));
    }
    expect(await client.json("GET", "/api/objects?bucket=data", undefined, headers)).toMatchObject({
      status: 404,
    });
    expect(await client.json("GET", "/api/objects/data/small", undefined, headers)).toMatchObject({
      status: 404,
    });
    expect((await client.json("GET", "/api/buckets", undefined, headers)).body.buckets).toEqual([]);
  });
});

test("a cut upload leaves nothing visible, and may be continued", async () => {
  const upload = await begin({ kind: "object", key: "cut" });
  const bytes = randomBytes(3 * MIB);
  await expect(rawPut(upload, bytes.length, bytes.subarray(0, 2 * MIB), "cut")).rejects.toThrow("cut");
  expect(await keys("cut")).toEqual([]);
  expect((await client.json("GET", `/api/uploads/${upload}`)).body).toMatchObject({
    state: "open",
    parts: [],
  });
  expect(await complete(upload, 1)).toMatchObject({ status: 409 });

  expect((await put(upload, 1, bytes)).status).toBe(200);
  expect((await complete(upload, 1)).status).toBe(200);
  expect((await download("cut")).bytes.equals(bytes)).toBe(true);
});

test("an aborted upload takes no part", async () => {
  const upload = await begin({ kind: "object", key: "aborted" });
  await put(upload, 1, Buffer.from("x"));
  for (const _ of [1, 2]) expect((await client.json("DELETE", `/api/uploads/${upload}`)).status).toBe(204);
  expect(await put(upload, 1, Buffer.from("x"))).toMatchObject({ status: 409 });
  expect(await complete(upload, 1)).toMatchObject({ status: 409, body: { code: "failed_precondition" } });
  expect(await keys("aborted")).toEqual([]);
});

/** A part whose declared length is not what is sent, as no fetch would let us. */
function rawPut(
  upload: string,
  declared: number,
  sent: Uint8Array,
  end?: "cut",
): Promise<Omit<JsonAnswer, "headers">> {
  return new Promise((resolve, reject) => {
    const outgoing = httpRequest(new URL(`/api/uploads/${upload}/parts/1`, gateway.url), {
      method: "PUT",
      headers: { authorization: `Bearer ${gateway.owner.apiKey}`, "content-length": declared },
    });
    outgoing.on("error", reject);
    outgoing.on("response", (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.on("end", () => {
        const body: unknown = JSON.parse(Buffer.concat(chunks).toString());
        resolve({ status: response.statusCode ?? 0, body });
        outgoing.destroy();
      });
    });
    outgoing.write(sent, () => {
      if (end === "cut") outgoing.destroy(new Error("cut"));
    });
    if (sent.length === 0) outgoing.flushHeaders();
  });
}
