import { afterAll, describe, expect, test } from "vitest";
import { findDataset, listFiles } from "../../catalog/datasets.ts";
import { toHex } from "../../core/bytes.ts";
import { Manifest } from "../../core/dataset/manifest.ts";
import { verifyPage, MANIFEST_PAGE_BYTES, pageCount, pageProof } from "../../core/dataset/manifest-proof.ts";
import { bytesOf, countOf, createBench, createJob, hash } from "./fixture.ts";

const bench = await createBench();
afterAll(() => bench.close());
const { sql, ownerId, direct } = bench;
const { blake3 } = direct.reads.kernels;

const photos = await bench.bucket("photos");
const more = await bench.bucket("more");
for (const key of ["train/dog/2.png", "train/cat/1.png", "train/dog/notes.txt", "test/cat/9.png"])
  await bench.put(photos, key, bytesOf(`bytes of ${key}`));

async function datasetOf(
  result: unknown,
): Promise<NonNullable<Awaited<ReturnType<typeof findDataset>>>["dataset"]> {
  const { dataset_id: id } = result as { dataset_id: string };
  const found = await findDataset(sql, ownerId, { id });
  if (found === undefined) throw new Error("The dataset is not there.");
  return found.dataset;
}

const failure = async (files: readonly string[], schema?: Record<string, unknown>): Promise<unknown> => {
  const job = await bench.run(createJob(ownerId, { name: "broken", files, ...(schema && { schema }) }));
  expect(job.state).toBe("failed");
  expect(await countOf(sql, "datasets where name = 'broken'")).toBe(0);
  return job.error;
};

describe("a dataset from one glob", () => {
  test("has the matching files in path order, a manifest that hashes to it, and the classes in its schema", async () => {
    const schema = { type: "image", format: "png", labels: "path" };
    const job = await bench.run(createJob(ownerId, { files: ["photos/train/**/*.png"], schema }));
    expect(job).toMatchObject({ state: "succeeded", done: 4, total: 4, error: null });
    const dataset = await datasetOf(job.result);
    expect(job.result).toMatchObject({ version: 1, file_count: 2, content_hash: toHex(dataset.contentHash) });
    expect(dataset.schema).toEqual({ ...schema, classes: ["cat", "dog"] });
    expect(dataset).toMatchObject({
      name: "pets",
      version: 1,
      parentId: null,
      fileCount: 2,
      maxItemBytes: 24,
    });

    const bytes = await bench.read(dataset.manifestObjectId);
    expect(hash(bytes)).toEqual(dataset.contentHash);
    const manifest = Manifest.parse(bytes);
    const expected = ["cat/1.png", "dog/2.png"].map((path) => ({
      path,
      size: 24,
      contentHash: hash(bytesOf(`bytes of train/${path}`)),
    }));
    expect([manifest.item(0), manifest.item(1)]).toEqual(expected);
    const files = await listFiles(sql, dataset.id, { from: 0, limit: 10 });
    expect(files).toEqual(expected.map((file, index) => ({ index, ...file })));
  });

  test("made again is the next version, whose parent is the one before", async () => {
    const first = await bench.run(createJob(ownerId, { name: "again", files: ["photos/train/**/*.png"] }));
    const second = await bench.run(createJob(ownerId, { name: "again", files: ["photos/train/**"] }));
    const [one, two] = [await datasetOf(first.result), await datasetOf(second.result)];
    expect(two).toMatchObject({ version: 2, parentId: one.id, fileCount: 3 });
    expect(second.result).toMatchObject({ version: 2 });
    expect((await findDataset(sql, ownerId, { name: "again" }))?.dataset.id).toBe(two.id);
  });

  test("keeps a class list that the creator gave, and refuses a folder that it does not name", async () => {
    const schema = { type: "image", format: "png", labels: "path", classes: ["dog", "cat", "emu"] };
    const job = await bench.run(
      createJob(ownerId, { name: "listed", files: ["photos/train/**/*.png"], schema }),
    );
    expect((await datasetOf(job.result)).schema).toEqual(schema);
    const error = await failure(["photos/train/**/*.png"], { ...schema, classes: ["dog"] });
    expect(error).toMatchObject({ code: "invalid_argument", details: { field: "schema.classes" } });
  });
});

describe("several globs", () => {
  test("keep what tells their paths apart, and count an object once that two of them match", async () => {
    const files = ["photos/train/**/*.png", "photos/train/cat/*", "photos/test/**"];
    const job = await bench.run(createJob(ownerId, { name: "both", files }));
    const found = await listFiles(sql, (await datasetOf(job.result)).id, { from: 0, limit: 10 });
    expect(found.map(({ path }) => path)).toEqual(["test/cat/9.png", "train/cat/1.png", "train/dog/2.png"]);
  });

  test("over two buckets are merged in path order", async () => {
    await bench.put(more, "train/cow/5.png", bytesOf("moo"));
    const files = ["photos/train/**/*.png", "more/train/**"];
    const job = await bench.run(createJob(ownerId, { name: "merged", files }), { filesPerStep: 1 });
    const found = await listFiles(sql, (await datasetOf(job.result)).id, { from: 0, limit: 10 });
    expect(found.map(({ path }) => path)).toEqual(["cat/1.png", "cow/5.png", "dog/2.png"]);
  });

  test.each([1, 2, 100])(
    "give two objects one path: refused by name, %i objects a step",
    async (filesPerStep) => {
      await bench.put(more, "train/dog/2.png", bytesOf("another dog"));
      const files = ["photos/train/**/*.png", "more/train/**"];
      const job = await bench.run(createJob(ownerId, { name: "broken", files }), { filesPerStep });
      expect(job.error).toMatchObject({ code: "invalid_argument", details: { path: "dog/2.png" } });
      expect(job.error?.message).toContain('"dog/2.png"');
    },
  );
});

describe("what no dataset can be made of", () => {
  test("a glob that matches nothing is named", async () => {
    const error = await failure(["photos/train/**/*.png", "photos/train/**/*.jpg"]);
    expect(error).toMatchObject({ code: "invalid_argument", details: { field: "files[1]" } });
    expect((error as Error).message).toContain("photos/train/**/*.jpg");
  });

  test("a bucket of somebody else does not exist", async () => {
    const { id: strangerId } = (
      await sql.query({
        text: "insert into users (name, role) values ('eve', 'owner') returning id",
        values: [],
      })
    )[0] as { id: string };
    const theirs = await bench.bucket("secret", strangerId);
    await bench.put(theirs, "a.png", bytesOf("secret"));
    expect(await failure(["secret/a.png"])).toEqual(
      expect.objectContaining({ message: 'files[0]: you have no bucket "secret".' }),
    );
    expect(await failure(["nothing/a.png"])).toEqual(
      expect.objectContaining({ message: 'files[0]: you have no bucket "nothing".' }),
    );
  });

  test("a key that is no path is refused by name", async () => {
    const odd = await bench.bucket("odd");
    // Uploads refuse such keys; this one came in some other way.
    const decomposed = "cafe\u0301.png";
    await bench.declare(odd, [decomposed]);
    const error = await failure(["odd/**"]);
    expect(error).toMatchObject({ code: "invalid_argument" });
    expect((error as Error).message).toContain(`"${decomposed}" is not in Unicode normal form NFC`);
  });

  test("items in no folder have no class", async () => {
    const flat = await bench.bucket("flat");
    await bench.declare(flat, ["a.png"]);
    const error = await failure(["flat/*"], { type: "image", format: "png", labels: "path" });
    expect(error).toMatchObject({ code: "invalid_argument", details: { field: "schema.labels" } });
  });
});

test("a manifest of several parts equals its hash, and every page proves", async () => {
  const big = await bench.bucket("big");
  const keys = Array.from(
    { length: 3000 },
    (_, i) => `${"folder/".repeat(i % 7)}äöü-${(i * 7919) % 3000}-😀.bin`,
  );
  await bench.declare(big, keys, 3);
  const job = await bench.run(createJob(ownerId, { name: "big", files: ["big/**"] }), {
    filesPerStep: 701,
    partBytes: MANIFEST_PAGE_BYTES,
  });
  const dataset = await datasetOf(job.result);
  const bytes = await bench.read(dataset.manifestObjectId);
  expect(hash(bytes)).toEqual(dataset.contentHash);
  const manifest = Manifest.parse(bytes);
  const sorted = keys.map((key) => Buffer.from(key)).toSorted((a, b) => Buffer.compare(a, b));
  expect(Array.from({ length: 3000 }, (_, i) => manifest.itemPath(i))).toEqual(sorted.map(String));

  const values = await bench.read(dataset.treeObjectId);
  const pages = pageCount(bytes.length);
  expect(pages).toBeGreaterThan(3);
  for (let pageIndex = 0; pageIndex < pages; pageIndex++) {
    const pageBytes = bytes.subarray(pageIndex * MANIFEST_PAGE_BYTES, (pageIndex + 1) * MANIFEST_PAGE_BYTES);
    const claim = { contentHash: dataset.contentHash, totalBytes: bytes.length, pageIndex, pageBytes };
    const proof = pageProof(values, pageIndex, blake3);
    verifyPage({ ...claim, proof }, blake3);
    const forged = pageBytes.slice();
    forged[0] = (forged[0] as number) ^ 1;
    expect(() => verifyPage({ ...claim, pageBytes: forged, proof }, blake3)).toThrow("content hash");
  }
});
