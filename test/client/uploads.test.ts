/** Uploads by the client against the real gateway: cutting, resuming, and checking what arrived. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { DataStreamClient } from "../../client/client.ts";
import type { UploadFile } from "../../client/uploads.ts";
import { startGateway, type TestGateway } from "../support/gateway.ts";

const MIB = 1024 * 1024;
let gateway: TestGateway;

beforeAll(async () => {
  gateway = await startGateway();
  await clientWith(fetch).objects.ensureBucket("uploads");
});
afterAll(() => gateway.stop());

function clientWith(replaced: typeof fetch): DataStreamClient {
  return new DataStreamClient({
    gateway: gateway.url,
    apiKey: gateway.owner.apiKey,
    fetch: replaced,
    retry: { attempts: 3, firstDelayMs: 0, maxDelayMs: 0 },
  });
}

function bytesOf(length: number, salt = 1): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length);
  for (let i = 0, state = salt; i < length; i++)
    bytes[i] = (state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0) >>> 24;
  return bytes;
}

const isPart = (input: RequestInfo | URL, init: RequestInit | undefined): boolean =>
  init?.method === "PUT" && String(input instanceof Request ? input.url : input).includes("/parts/");

test("an object of several parts comes back byte by byte", async () => {
  const client = clientWith(fetch);
  const bytes = bytesOf(33 * MIB + 5);
  const progress: number[] = [];
  const result = await client.uploadObject({ bucket: "uploads", key: "large" }, new Blob([bytes]), {
    onProgress: (state) => progress.push(state.bytes),
  });
  expect(result).toMatchObject({ objects: 1, bytes: bytes.length, degraded_chunks: 0 });
  expect(progress.at(-1)).toBe(bytes.length);
  const back = new Uint8Array(await (await client.objects.get("uploads", "large")).arrayBuffer());
  expect(Buffer.compare(back, bytes)).toBe(0);
});

test("an upload that broke off goes on with the missing parts alone", async () => {
  const bytes = bytesOf(50 * MIB, 7);
  let puts = 0;
  const breaking: typeof fetch = (input, init) => {
    if (isPart(input, init) && ++puts > 2) return Promise.reject(new TypeError("network down"));
    return fetch(input, init);
  };
  let uploadId = "";
  const first = clientWith(breaking).uploadObject({ bucket: "uploads", key: "resumed" }, new Blob([bytes]), {
    onUpload: (id) => (uploadId = id),
  });
  await expect(first).rejects.toMatchObject({ code: "unavailable" });
  await expect(clientWith(fetch).objects.get("uploads", "resumed")).rejects.toMatchObject({
    code: "not_found",
  });

  let sent = 0;
  const counting: typeof fetch = (input, init) => {
    if (isPart(input, init)) sent += 1;
    return fetch(input, init);
  };
  await clientWith(counting).uploadObject({ bucket: "uploads", key: "resumed" }, new Blob([bytes]), {
    resume: uploadId,
  });
  expect(sent).toBe(2);
  const back = new Uint8Array(
    await (await clientWith(fetch).objects.get("uploads", "resumed")).arrayBuffer(),
  );
  expect(Buffer.compare(back, bytes)).toBe(0);
});

test("an upload is not resumed as another one", async () => {
  const client = clientWith(fetch);
  let uploadId = "";
  await client.uploadObject({ bucket: "uploads", key: "mine" }, new Blob([bytesOf(100, 1)]), {
    onUpload: (id) => (uploadId = id),
  });
  const other = client.uploadObject({ bucket: "uploads", key: "other" }, new Blob([bytesOf(100, 2)]), {
    resume: uploadId,
  });
  await expect(other).rejects.toMatchObject({ code: "invalid_argument", details: { field: "resume" } });
  await expect(client.objects.get("uploads", "other")).rejects.toMatchObject({ code: "not_found" });
});

test("a part that changed on the way is refused by the client, and nothing becomes visible", async () => {
  const corrupting: typeof fetch = (input, init) => {
    if (!isPart(input, init)) return fetch(input, init);
    const body = new Uint8Array(init?.body as Uint8Array);
    body[100] = (body[100] as number) ^ 1;
    return fetch(input, { ...init, body });
  };
  const upload = clientWith(corrupting).uploadObject(
    { bucket: "uploads", key: "changed" },
    new Blob([bytesOf(1000)]),
  );
  await expect(upload).rejects.toMatchObject({ code: "data_loss" });
  await expect(clientWith(fetch).objects.get("uploads", "changed")).rejects.toMatchObject({
    code: "not_found",
  });
});

test("a folder of small and large files, with long and odd names", async () => {
  const client = clientWith(fetch);
  const files = new Map<string, Uint8Array<ArrayBuffer>>();
  for (let i = 0; i < 120; i++) files.set(`a/${String(i).padStart(4, "0")}.bin`, bytesOf(i * 37, i + 1));
  files.set(`b/${"long".repeat(60)}/${"name".repeat(40)}.txt`, bytesOf(300, 3));
  files.set("c/ünïcödé 名前.txt", bytesOf(20, 4));
  files.set("d/empty", bytesOf(0));
  files.set("e/large.bin", bytesOf(5 * MIB, 9));
  async function* list(): AsyncGenerator<UploadFile> {
    for (const [path, bytes] of files) yield { path, blob: new Blob([bytes]) };
  }
  const result = await client.uploadFolder({ bucket: "uploads", prefix: "folder/" }, list());
  expect(result.objects).toBe(files.size);

  const listed = new Map<string, number>();
  for await (const object of client.objects.list("uploads", "folder/")) listed.set(object.key, object.size);
  expect(listed).toEqual(new Map([...files].map(([path, bytes]) => [`folder/${path}`, bytes.length])));
  for (const path of [
    "a/0119.bin",
    "c/ünïcödé 名前.txt",
    "d/empty",
    "e/large.bin",
    [...files.keys()].find((each) => each.startsWith("b/")) as string,
  ]) {
    const back = new Uint8Array(await (await client.objects.get("uploads", `folder/${path}`)).arrayBuffer());
    expect(Buffer.compare(back, files.get(path) as Uint8Array), path).toBe(0);
  }
  const range = await client.objects.get("uploads", "folder/e/large.bin", {
    range: { offset: 4 * MIB - 3, length: 10 },
  });
  expect(new Uint8Array(await range.arrayBuffer())).toEqual(
    (files.get("e/large.bin") as Uint8Array).slice(4 * MIB - 3, 4 * MIB + 7),
  );
});

test("a folder whose last part fails ends in that part's error, and nothing becomes visible", async () => {
  let puts = 0;
  const breaking: typeof fetch = (input, init) => {
    if (isPart(input, init) && ++puts > 1) return Promise.reject(new TypeError("network down"));
    return fetch(input, init);
  };
  async function* list(): AsyncGenerator<UploadFile> {
    for (let i = 0; i < 12; i++)
      yield { path: `${i}.bin`.padStart(6, "0"), blob: new Blob([bytesOf(2 * MIB, i + 1)]) };
  }
  const upload = clientWith(breaking).uploadFolder({ bucket: "uploads", prefix: "broken/" }, list());
  await expect(upload).rejects.toMatchObject({ code: "unavailable" });
  for await (const object of clientWith(fetch).objects.list("uploads", "broken/"))
    expect(object).toBeUndefined();
});
