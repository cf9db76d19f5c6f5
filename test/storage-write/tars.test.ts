import { createTarPacker, packTar, type TarHeader } from "modern-tar";
import { afterAll, describe, expect, test } from "vitest";
import { TAR_PART_MAX_ENTRIES } from "../../core/limits.ts";
import { completeUpload } from "../../storage/uploads/complete.ts";
import { createUpload } from "../../storage/uploads/sessions.ts";
import { createBench, patterned, putWhole, readAll, readChunkById, upload } from "./fixture.ts";

type Files = Record<string, Uint8Array>;

const tarOf = (files: Files): Promise<Uint8Array> =>
  packTar(Object.entries(files).map(([name, body]) => ({ header: { name, size: body.length }, body })));

const headerOnly = async (header: TarHeader, body?: Uint8Array): Promise<Uint8Array> =>
  packTar([{ header, ...(body && { body }) }]);

const bench = await createBench({ chunkBytes: 4096 });
afterAll(() => bench.close());

async function uploadTars(prefix: string, ...parts: Uint8Array[]): Promise<unknown> {
  return upload(bench, bench.deps(), { kind: "tar", key: prefix }, parts);
}

/** What is stored below a prefix, without it. */
async function stored(prefix: string): Promise<Files> {
  const all = [...(await readAll(bench))].filter(([key]) => key.startsWith(prefix));
  return Object.fromEntries(all.map(([key, bytes]) => [key.slice(prefix.length), bytes]));
}

describe("a folder as tars", () => {
  test("becomes objects of any size, in chunks they share", async () => {
    const first: Files = { "a/empty": new Uint8Array(), "a/one": patterned(1), "a/large": patterned(9_999) };
    for (let i = 0; i < 40; i++) first[`a/small-${i}`] = patterned(100 + i, i);
    const second: Files = { "b/exactly a chunk": patterned(4096), "b/é": patterned(1023) };
    const result = await uploadTars("mix/", await tarOf(first), await tarOf(second));
    const expected = { ...first, ...second };
    const bytes = Object.values(expected).reduce((sum, file) => sum + file.length, 0);
    expect(await stored("mix/")).toEqual(expected);
    expect(result).toMatchObject({ objects: 45, bytes, degraded_chunks: 0 });
    expect((result as { chunks: number }).chunks).toBeLessThan(10);
  });

  test("keeps every file that fits into a shard inside one", async () => {
    const files: Files = {};
    for (let i = 0; i < 60; i++) files[`f${i}`] = patterned(1 + ((i * 137) % 1000), i);
    await uploadTars("shards/", await tarOf(files));
    const rows = await bench.sql.query({
      text: `select o.key, e.chunk_offset / c.shard_length as first, (e.chunk_offset + e.length - 1) / c.shard_length as last
        from objects o join extents e on e.object_id = o.id join chunks c on c.id = e.chunk_id
        where o.key like 'shards/%' and o.size <= c.shard_length`,
      values: [],
    });
    expect(rows.length).toBeGreaterThan(40);
    expect(rows.filter(({ first, last }) => first !== last)).toEqual([]);
  });

  test("has nothing but zeros between its files", async () => {
    const { kernels } = bench.deps();
    const dirty = kernels.heap.tryAllocate(kernels.heap.largestFreeBytes);
    dirty?.view.fill(0xaa);
    dirty?.free();
    const files: Files = {};
    for (let i = 0; i < 9; i++) files[`f${i}`] = patterned(700, i);
    await uploadTars("padded/", await tarOf(files));
    const extents = await bench.sql.query({
      text: `select e.chunk_id, e.chunk_offset, e.length from extents e join objects o on o.id = e.object_id
        where o.key like 'padded/%'`,
      values: [],
    });
    let padding = 0;
    for (const [chunkId, ofChunk] of Map.groupBy(extents, (row) => row["chunk_id"] as string)) {
      const chunk = await readChunkById(bench, chunkId);
      for (const { chunk_offset, length } of ofChunk) {
        padding -= length as number;
        chunk.fill(0, chunk_offset as number, (chunk_offset as number) + (length as number));
      }
      padding += chunk.length;
      expect(chunk.every((byte) => byte === 0)).toBe(true);
    }
    expect(padding).toBeGreaterThan(0);
  });

  test("skips directories, takes long names of either kind", async () => {
    const long = `${"d".repeat(120)}/${"n".repeat(200)}.bin`;
    const pax = await packTar([
      { header: { name: "dir/", type: "directory", size: 0 } },
      { header: { name: long, size: 3 }, body: patterned(3) },
    ]);
    const gnu = new Uint8Array([
      ...(
        await headerOnly(
          { name: "././@LongLink", type: "gnu-long-name", size: 130 },
          new Uint8Array(130).fill(103),
        )
      ).subarray(0, 1024),
      ...(await headerOnly({ name: "cut", size: 2 }, patterned(2))),
    ]);
    await uploadTars("names/", pax, gnu);
    expect(await stored("names/")).toEqual({ [long]: patterned(3), ["g".repeat(130)]: patterned(2) });
  });

  test("of nothing completes with nothing", async () => {
    expect(await uploadTars("none/", await packTar([]))).toEqual({
      objects: 0,
      bytes: 0,
      chunks: 0,
      degraded_chunks: 0,
    });
    expect(await upload(bench, bench.deps(), { kind: "tar", key: "" }, [])).toMatchObject({ objects: 0 });
  });
});

describe("a bad archive", () => {
  const file = (name: string): Promise<Uint8Array> => headerOnly({ name, size: 3 }, patterned(3));
  const refuses = async (body: Uint8Array, message: RegExp, field = "path", key = "bad/"): Promise<void> => {
    const deps = bench.deps();
    const { id } = await createUpload(deps, { bucketId: bench.bucketId, kind: "tar", key });
    const error: unknown = await putWhole(bench, deps, id, 1, body).catch((reason: unknown) => reason);
    expect(error).toMatchObject({ code: "invalid_argument", details: { field } });
    expect((error as Error).message).toMatch(message);
    expect(deps.budget.usedBytes).toBe(0);
    expect(await deps.catalog.listParts(id)).toEqual([]);
  };

  test.each([
    ["../up", /"\.\.\/up" contains a '\.\.' segment/],
    ["/absolute", /starts with '\/'/],
    ["a//b", /empty segment/],
    ["a\u0007b", /control character/],
    ["e\u0301", /normal form NFC/],
    [`${"x".repeat(1020)}.png`, /"bad\/" is longer than 1024 bytes/],
  ])("is refused for the path %j", async (name, message) => refuses(await file(name), message));

  test("is refused for a path that is not UTF-8", async () => {
    const tar = await file("a-b");
    tar[1] = 0xff;
    tar.set(checksum(tar), 148);
    await refuses(tar, /not valid UTF-8/);
  });

  test.each(["symlink", "link", "fifo", "character-device"] as const)("is refused for a %s", async (type) =>
    refuses(
      await headerOnly({ name: "odd", type, size: 0, linkname: "target" }),
      new RegExp(`"odd" is a ${type}`),
    ),
  );

  test("is refused for a sparse file", async () =>
    refuses(
      await headerOnly({ name: "holes", size: 3, pax: { "GNU.sparse.major": "1" } }, patterned(3)),
      /sparse/,
    ));

  test("is refused for a duplicate, within a part or across parts", async () => {
    const twice = await packTar([1, 2].map((n) => ({ header: { name: "a", size: n }, body: patterned(n) })));
    await refuses(twice, /"a" is in the archive twice/);
    await expect(
      uploadTars("again/", await file("same"), await file("other"), await file("same")),
    ).rejects.toThrow(/"again\/same" is in another part/);
  });

  test("is refused when it is no tar, or cut anywhere", async () => {
    await refuses(patterned(5000), /not a whole tar archive/, "body");
    const tar = await tarOf({ a: patterned(700), b: patterned(700) });
    for (let length = 1; length < tar.length; length += 173)
      await refuses(tar.slice(0, length), /whole tar|within a file/, "body");
  });

  test("is refused above the largest number of files", async () => {
    const { readable, controller } = createTarPacker();
    const packing = new Response(readable).bytes();
    for (let i = 0; i <= TAR_PART_MAX_ENTRIES; i++) await controller.add({ name: `${i}`, size: 0 }).close();
    controller.finalize();
    await refuses(await packing, /more than 20000 files/, "body");
  });

  test("leaves the upload open for a better one", async () => {
    const deps = bench.deps();
    const { id } = await createUpload(deps, { bucketId: bench.bucketId, kind: "tar", key: "retry/" });
    await expect(putWhole(bench, deps, id, 1, patterned(2000))).rejects.toThrow(/not a whole tar/);
    await putWhole(bench, deps, id, 1, await file("good"));
    await completeUpload(deps, { uploadId: id, ownerId: bench.ownerId, parts: 1 });
    expect(await stored("retry/")).toEqual({ good: patterned(3) });
  });
});

function checksum(header: Uint8Array): Uint8Array {
  const sum = header
    .subarray(0, 512)
    .reduce((total, byte, i) => total + (i >= 148 && i < 156 ? 32 : byte), 0);
  return new TextEncoder().encode(`${sum.toString(8).padStart(6, "0")}\0 `);
}
