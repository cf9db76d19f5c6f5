import { sha256 } from "@noble/hashes/sha2.js";
import { afterAll, describe, expect, test } from "vitest";
import { findLiveObject } from "../../catalog/objects.ts";
import { toHex } from "../../core/bytes.ts";
import { completeUpload } from "../../storage/uploads/complete.ts";
import { createUpload } from "../../storage/uploads/sessions.ts";
import { createBench, cut, patterned, putWhole, readBack, upload } from "./fixture.ts";

const CHUNK = 4096;
const PART = 8192;
const bench = await createBench({ chunkBytes: CHUNK });
afterAll(() => bench.close());

describe("an object of one upload", () => {
  const edges = [1, CHUNK, PART, 2 * PART].flatMap((size) => [size - 1, size, size + 1]);
  test.each([...new Set([0, ...edges, 3 * PART + 17])])("of %i bytes reads back", async (size) => {
    const bytes = patterned(size, size);
    const key = `sizes/${size}`;
    const result = await upload(
      bench,
      bench.deps(),
      { kind: "object", key, partBytes: PART },
      cut(bytes, PART),
    );
    expect(await readBack(bench, key)).toEqual(bytes);
    expect(result).toMatchObject({ objects: 1, bytes: size, degraded_chunks: 0 });
    const single = size <= PART;
    expect(result.object).toMatchObject({
      bucket: "data",
      key,
      size,
      sha256: single ? toHex(sha256(bytes)) : null,
    });
  });

  test("may come in parts of any order, at once", async () => {
    const bytes = patterned(5 * PART + 100);
    const deps = bench.deps();
    const { id } = await createUpload(deps, {
      bucketId: bench.bucketId,
      kind: "object",
      key: "any/order",
      partBytes: PART,
    });
    const parts = cut(bytes, PART);
    await Promise.all(
      [5, 1, 4, 6, 2, 3].map((n) => putWhole(bench, bench.deps(), id, n, parts[n - 1] as Uint8Array)),
    );
    await completeUpload(deps, { uploadId: id, ownerId: bench.ownerId, parts: 6 });
    expect(await readBack(bench, "any/order")).toEqual(bytes);
    expect((await findLiveObject(bench.sql, bench.bucketId, "any/order"))?.sha256).toBeNull();
  });
});
