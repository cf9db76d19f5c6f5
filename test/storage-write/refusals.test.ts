import { blake3 } from "@noble/hashes/blake3.js";
import { sha256 } from "@noble/hashes/sha2.js";
import { afterAll, describe, expect, test } from "vitest";
import { PART_MAX_BYTES } from "../../core/limits.ts";
import { completeUpload } from "../../storage/uploads/complete.ts";
import { putPart } from "../../storage/uploads/put-part.ts";
import { abortUpload, createUpload, describeUpload } from "../../storage/uploads/sessions.ts";
import { bodyOf, createBench, cut, patterned, putWhole, readAll, readBack, upload } from "./fixture.ts";

const PART = 4096;
const bench = await createBench({ chunkBytes: 4096 });
afterAll(() => bench.close());
const deps = bench.deps();
const stranger = "00000000-0000-4000-8000-000000000000";

const open = async (key: string): Promise<string> =>
  (await createUpload(deps, { bucketId: bench.bucketId, kind: "object", key, partBytes: PART })).id;
const complete = (
  uploadId: string,
  parts: number,
  contentHash?: Uint8Array,
): ReturnType<typeof completeUpload> =>
  completeUpload(deps, { uploadId, ownerId: bench.ownerId, parts, ...(contentHash && { contentHash }) });
const send = (
  uploadId: string,
  body: Uint8Array,
  declaredLength: number,
  partNumber = 1,
): ReturnType<typeof putPart> =>
  putPart(deps, { uploadId, ownerId: bench.ownerId, partNumber, body: bodyOf(body), declaredLength });

describe("create", () => {
  test.each(["", "/a", "a/../b", "a\u0000", "a//b", "x".repeat(1025)])("refuses the key %j", async (key) =>
    expect(createUpload(deps, { bucketId: bench.bucketId, kind: "object", key })).rejects.toMatchObject({
      code: "invalid_argument",
      details: { field: "key" },
    }),
  );

  test.each(["../", "/a/", "a//"])("refuses the prefix %j", async (key) =>
    expect(createUpload(deps, { bucketId: bench.bucketId, kind: "tar", key })).rejects.toMatchObject({
      details: { field: "prefix" },
    }),
  );

  test.each([0, 1000, 3000, 2 * PART_MAX_BYTES])("refuses parts of %i bytes", async (partBytes) =>
    expect(
      createUpload(deps, { bucketId: bench.bucketId, kind: "object", key: "k", partBytes }),
    ).rejects.toMatchObject({
      details: { field: "part_bytes", limit: PART_MAX_BYTES },
    }),
  );
});

describe("a part", () => {
  test.each([
    ["shorter", 99, 100],
    ["longer", 101, 100],
    ["empty instead", 0, 100],
    ["there where none was declared", 1, 0],
  ])("that is %s than declared is refused", async (_, actual, declared) => {
    const id = await open("length");
    await expect(send(id, patterned(actual), declared)).rejects.toMatchObject({
      code: "invalid_argument",
      details: { field: "body", declared },
    });
    expect((await describeUpload(deps, id, bench.ownerId)).parts).toEqual([]);
    expect(deps.budget.usedBytes).toBe(0);
  });

  test("whose body breaks off is cancelled, and leaves nothing", async () => {
    const id = await open("broken");
    const body = new ReadableStream<Uint8Array>({
      pull(controller) {
        if (controller.desiredSize === 1) controller.enqueue(patterned(10));
        controller.error(new TypeError("connection reset"));
      },
    });
    const part = { uploadId: id, ownerId: bench.ownerId, partNumber: 1, body, declaredLength: 100 };
    await expect(putPart(deps, part)).rejects.toMatchObject({ code: "canceled" });
    expect(deps.budget.usedBytes).toBe(0);
    await expect(complete(id, 1)).rejects.toMatchObject({ code: "failed_precondition" });
  });

  test.each([0, -1, 1.5, 100_001])("of the number %d is refused", async (partNumber) =>
    expect(send(await open("number"), patterned(1), 1, partNumber)).rejects.toMatchObject({
      details: { field: "part_number" },
    }),
  );

  test("above the part size is refused before it is read", async () => {
    let read = false;
    const body = new ReadableStream<Uint8Array>({ pull: () => void (read = true) }, { highWaterMark: 0 });
    const part = {
      uploadId: await open("big"),
      ownerId: bench.ownerId,
      partNumber: 1,
      body,
      declaredLength: PART + 1,
    };
    await expect(putPart(deps, part)).rejects.toMatchObject({ details: { field: "body", limit: PART } });
    expect(read).toBe(false);
  });

  test("of somebody else's upload is not found", async () => {
    const id = await open("theirs");
    const part = {
      uploadId: id,
      ownerId: stranger,
      partNumber: 1,
      body: bodyOf(patterned(1)),
      declaredLength: 1,
    };
    await expect(putPart(deps, part)).rejects.toMatchObject({ code: "not_found" });
    await expect(describeUpload(deps, id, stranger)).rejects.toMatchObject({ code: "not_found" });
    await expect(abortUpload(deps, id, stranger)).rejects.toMatchObject({ code: "not_found" });
    await expect(describeUpload(deps, "no-uuid", bench.ownerId)).rejects.toMatchObject({ code: "not_found" });
  });

  test("sent again replaces the first", async () => {
    const id = await open("twice");
    await putWhole(bench, deps, id, 1, patterned(PART, 1));
    await putWhole(bench, deps, id, 2, patterned(100, 2));
    await putWhole(bench, deps, id, 1, patterned(PART, 3));
    await putWhole(bench, deps, id, 2, patterned(50, 4));
    await complete(id, 2);
    expect(await readBack(bench, "twice")).toEqual(
      new Uint8Array([...patterned(PART, 3), ...patterned(50, 4)]),
    );
  });
});

describe("complete", () => {
  test("refuses missing, additional and short parts", async () => {
    const id = await open("gaps");
    await expect(complete(id, 0)).rejects.toMatchObject({
      code: "invalid_argument",
      details: { field: "parts" },
    });
    await putWhole(bench, deps, id, 1, patterned(PART));
    await putWhole(bench, deps, id, 3, patterned(10));
    await expect(complete(id, 3)).rejects.toMatchObject({
      code: "failed_precondition",
      details: { part_number: 2 },
    });
    await expect(complete(id, 1)).rejects.toMatchObject({
      code: "invalid_argument",
      details: { field: "parts" },
    });
    await putWhole(bench, deps, id, 2, patterned(PART - 1));
    await expect(complete(id, 3)).rejects.toMatchObject({
      code: "failed_precondition",
      details: { part_number: 2 },
    });
    expect(await readBack(bench, "gaps")).toBeUndefined();
    await putWhole(bench, deps, id, 2, patterned(PART));
    await complete(id, 3);
    expect((await readBack(bench, "gaps"))?.length).toBe(2 * PART + 10);
  });

  test.each([100, 2 * PART + 100])(
    "refuses %i bytes of another hash before anything is visible",
    async (size) => {
      const bytes = patterned(size);
      const key = `hash/${size}`;
      const id = await open(key);
      for (const [i, part] of cut(bytes, PART).entries()) await putWhole(bench, deps, id, i + 1, part);
      const parts = cut(bytes, PART).length;
      await expect(complete(id, parts, blake3(patterned(3)))).rejects.toMatchObject({
        details: { field: "content_hash" },
      });
      expect((await readAll(bench)).has(key)).toBe(false);
      const result = await complete(id, parts, blake3(bytes));
      expect(await complete(id, parts, blake3(bytes))).toEqual(result);
      expect(await complete(id, parts)).toEqual(result);
      await expect(complete(id, parts, blake3(patterned(3)))).rejects.toMatchObject({
        code: "invalid_argument",
      });
    },
  );

  test("checks a declared SHA-256 of an object of one part", async () => {
    const request = { kind: "object", key: "sha", partBytes: PART } as const;
    const bytes = patterned(99);
    await expect(
      upload(bench, deps, { ...request, expectedSha256: sha256(patterned(1)) }, [bytes]),
    ).rejects.toMatchObject({
      details: { field: "sha256" },
    });
    expect(await readBack(bench, "sha")).toBeUndefined();
    await upload(bench, deps, { ...request, expectedSha256: sha256(bytes) }, [bytes]);
    expect(await readBack(bench, "sha")).toEqual(bytes);
  });
});

describe("an upload that ended", () => {
  test("by completion takes no part and cannot be aborted", async () => {
    const id = await open("done");
    await putWhole(bench, deps, id, 1, patterned(5));
    await complete(id, 1);
    await expect(send(id, patterned(5), 5)).rejects.toMatchObject({ code: "failed_precondition" });
    await expect(abortUpload(deps, id, bench.ownerId)).rejects.toMatchObject({ code: "failed_precondition" });
    expect(await readBack(bench, "done")).toEqual(patterned(5));
  });

  test("by abort takes no part and cannot be completed, also when the part was under way", async () => {
    const id = await open("gone");
    await putWhole(bench, deps, id, 1, patterned(5));
    const slow = new ReadableStream<Uint8Array>(
      {
        async pull(controller) {
          await abortUpload(deps, id, bench.ownerId);
          controller.enqueue(patterned(5));
          controller.close();
        },
      },
      { highWaterMark: 0 },
    );
    const part = { uploadId: id, ownerId: bench.ownerId, partNumber: 2, body: slow, declaredLength: 5 };
    await expect(putPart(deps, part)).rejects.toMatchObject({ code: "failed_precondition" });
    await expect(complete(id, 1)).rejects.toMatchObject({ code: "failed_precondition" });
    await abortUpload(deps, id, bench.ownerId);
    expect(await readBack(bench, "gone")).toBeUndefined();
  });
});
