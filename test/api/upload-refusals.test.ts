import { packTar } from "modern-tar";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { JsonAnswer } from "./documented.ts";
import { type UploadSteps, uploadSteps } from "./upload-steps.ts";
import { addUser } from "./users.ts";

const MIB = 1024 * 1024;

let steps: UploadSteps;
beforeAll(async () => {
  steps = await uploadSteps();
});
afterAll(() => steps.gateway.stop());

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
    const answer = await steps.client.json("POST", "/api/uploads", { bucket: "data", kind: "object", key });
    expect(answer).toMatchObject({ status: 400, body: { code: "invalid_argument", field: "key" } });
    expect(answer.body.detail).toContain(reason);
    const many = await steps.client.json("POST", "/api/objects/delete", {
      bucket: "data",
      keys: ["fine", key],
    });
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
      const answer = await steps.client.json(method, `/api/objects/data/${key}`);
      expect(answer).toMatchObject({ status: 400, body: { code: "invalid_argument", field: "key" } });
      expect(answer.body.detail).toContain(reason);
    }
  });

  test("keys may hold every other character", async () => {
    const key = "ünï/a b+c%d?e#f&g=h;i\"j'k\\l~(1)[2]{3}.png";
    const upload = await steps.begin({ kind: "object", key });
    await steps.put(upload, 1, Buffer.from("x"));
    expect((await steps.complete(upload, 1)).status).toBe(200);
    expect(await steps.keys("ünï/")).toEqual([key]);
    expect((await steps.download(key.split("/").map(encodeURIComponent).join("/"))).bytes.toString()).toBe(
      "x",
    );
    expect((await steps.download(encodeURIComponent(key))).bytes.toString()).toBe("x");
    expect((await steps.client.json("DELETE", `/api/objects/data/${encodeURIComponent(key)}`)).status).toBe(
      204,
    );
    expect(await steps.keys("ünï/")).toEqual([]);
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
    const answer = await steps.client.json("POST", "/api/uploads", { bucket: "data", ...body });
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
    const answer = await steps.client.json("GET", `/api/objects?bucket=data&${query}`);
    expect(answer).toMatchObject({ status: 400, body: { code: "invalid_argument", field } });
    expect(answer.body.limit).toBe(limit);
  });

  test("a bulk delete of more than 1,000 keys", async () => {
    const answer = await steps.client.json("POST", "/api/objects/delete", {
      bucket: "data",
      keys: Array.from({ length: 1001 }, (_, index) => `${index}`),
    });
    expect(answer).toMatchObject({ status: 400, body: { field: "keys", limit: 1000 } });
  });

  test.for([["../evil"], ["a/../../b"], ["/absolute"], ["bell\u0007"], [`${"x/".repeat(600)}y`]].map(named))(
    "a tar with the path $label",
    async ({ key: name }) => {
      const upload = await steps.begin({ kind: "tar", prefix: "evil/" });
      const body = await packTar([{ header: { name, size: 1, type: "file" }, body: "x" }]);
      expect(await steps.put(upload, 1, body)).toMatchObject({
        status: 400,
        body: { code: "invalid_argument" },
      });
      expect(await steps.keys("evil/")).toEqual([]);
    },
  );

  test("a tar with the same path twice, in one part or in two", async () => {
    const twice = { header: { name: "same.txt", size: 1, type: "file" as const }, body: "x" };
    const one = await steps.begin({ kind: "tar", prefix: "twice/" });
    const refused = await steps.put(one, 1, await packTar([twice, twice]));
    expect(refused).toMatchObject({ status: 400, body: { code: "invalid_argument" } });
    expect(refused.body.detail).toContain("same.txt");
    const two = await steps.begin({ kind: "tar", prefix: "twice/" });
    expect((await steps.put(two, 1, await packTar([twice]))).status).toBe(200);
    const second = await steps.put(two, 2, await packTar([twice]));
    expect(second).toMatchObject({ status: 400, body: { code: "invalid_argument" } });
    expect(second.body.detail).toContain("same.txt");
  });

  test("a part without a length", async () => {
    const upload = await steps.begin({ kind: "object", key: "streamed" });
    const response = await steps.client.request(`/api/uploads/${upload}/parts/1`, {
      method: "PUT",
      body: new Blob(["x".repeat(100_000)]).stream(),
      duplex: "half",
    } as RequestInit);
    expect(response.status).toBe(411);
    expect(await response.json()).toMatchObject({ code: "invalid_argument", field: "Content-Length" });
  });

  test("a part over 64 MiB, before a byte of it is read", async () => {
    const upload = await steps.begin({ kind: "tar", prefix: "" });
    const answer = await steps.rawPut(upload, 64 * MIB + 1, Buffer.alloc(0));
    expect(answer).toMatchObject({
      status: 413,
      body: { code: "invalid_argument", field: "body", limit: 64 * MIB },
    });
  });

  test.for(["0", "100001", "1.5", "x", "-1"])("the part number %s", async (part) => {
    const upload = await steps.begin({ kind: "object", key: "numbers" });
    expect(await steps.put(upload, part, Buffer.from("x"))).toMatchObject({
      status: 400,
      body: { field: "part" },
    });
  });

  test("a completion with missing, further or short parts, or another hash", async () => {
    const upload = await steps.begin({ kind: "object", key: "incomplete", part_bytes: 1024 });
    expect(await steps.complete(upload, 0)).toMatchObject({ status: 400, body: { field: "parts" } });
    await steps.put(upload, 2, Buffer.from("x"));
    expect(await steps.complete(upload, 2)).toMatchObject({
      status: 409,
      body: { code: "failed_precondition" },
    });
    await steps.put(upload, 1, Buffer.from("short"));
    expect(await steps.complete(upload, 2)).toMatchObject({
      status: 409,
      body: { part_number: 1, part_bytes: 1024 },
    });
    await steps.put(upload, 1, Buffer.alloc(1024));
    expect(await steps.complete(upload, 1)).toMatchObject({ status: 400, body: { field: "parts" } });
    expect(await steps.complete(upload, 2, { content_hash: "0".repeat(64) })).toMatchObject({
      status: 400,
      body: { field: "content_hash" },
    });
    expect(await steps.keys("incomplete")).toEqual([]);
    expect((await steps.complete(upload, 2)).status).toBe(200);
  });

  test("what belongs to another user, as if it did not exist", async () => {
    const stranger = await addUser(steps.gateway, "stranger");
    const headers = { authorization: `Bearer ${stranger.apiKey}` };
    const upload = await steps.begin({ kind: "object", key: "mine" });
    const nobodys = "00000000-0000-4000-8000-000000000000";
    const withoutId = ({ status, body }: JsonAnswer): unknown => ({ status, ...body, request_id: undefined });
    for (const [method, path] of [
      ["GET", "/api/uploads/ID"],
      ["DELETE", "/api/uploads/ID"],
    ] as const) {
      const theirs = await steps.client.json(method, path.replace("ID", upload), undefined, headers);
      const none = await steps.client.json(method, path.replace("ID", nobodys), undefined, headers);
      expect(theirs.status).toBe(404);
      expect(withoutId(theirs)).toEqual(withoutId(none));
    }
    expect(await steps.client.json("GET", "/api/objects?bucket=data", undefined, headers)).toMatchObject({
      status: 404,
    });
    expect(await steps.client.json("GET", "/api/objects/data/small", undefined, headers)).toMatchObject({
      status: 404,
    });
    expect((await steps.client.json("GET", "/api/buckets", undefined, headers)).body.buckets).toEqual([]);
  });
});
