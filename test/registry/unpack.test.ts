/** Published archives taken apart, and copies for everybody, on a real catalog and nodes in memory. */
import { randomUUID } from "node:crypto";
import { afterAll, describe, expect, test } from "vitest";
import { findDataset, listFiles } from "../../catalog/datasets.ts";
import type { Job, NewJob } from "../../catalog/jobs.ts";
import {
  deletePublicDataset,
  findPublicDatasets,
  insertPublicDataset,
  type Recipe,
} from "../../catalog/registry.ts";
import { createUser } from "../../catalog/users.ts";
import { toHex } from "../../core/bytes.ts";
import { MemoryJobStorage } from "../../durable-objects/jobs/program.ts";
import type { VerificationReport } from "../../durable-objects/jobs/verify-dataset.ts";
import { bytesOf, countOf, createBench, createJob, hash, verifyJob } from "../datasets/fixture.ts";
import { digits, idxContents, idxFiles, type PublishedBytes, sha256, tarFile } from "./published.ts";

const bench = await createBench();
afterAll(() => bench.close());
const { sql, ownerId } = bench;
const { id: strangerId } = await createUser(sql, { name: "eve", role: "owner" });

async function publish(files: readonly PublishedBytes[], recipe: Recipe | null): Promise<string> {
  const id = randomUUID();
  await insertPublicDataset(sql, {
    id,
    name: `Entry ${id.slice(0, 8)}`,
    version: "1",
    officialUrl: "https://example.org",
    license: null,
    verifiedBy: ["somebody"],
    recipe,
    officialHash: null,
    files: files.map(({ path, bytes }) => ({
      path,
      sha256: sha256(bytes),
      md5: null,
      size: bytes.length,
      url: null,
      source: "somebody",
    })),
  });
  return id;
}

let names = 0;
const newName = (): string => `set-${++names}`;

async function store(files: readonly PublishedBytes[], owner = ownerId): Promise<string> {
  const name = newName();
  const bucket = await bench.bucket(name, owner);
  for (const { path, bytes } of files) await bench.put(bucket, path, bytes);
  return name;
}

async function create(files: readonly PublishedBytes[], owner = ownerId): Promise<string> {
  const name = await store(files, owner);
  const job = await bench.run(createJob(owner, { name, files: [`${name}/**`], schema: RAW }));
  expect(job.error).toBeNull();
  return (job.result as { dataset_id: string }).dataset_id;
}

const RAW = { type: "binary", format: "raw" };

function unpackJob(sourceId: string, schema: object = RAW): NewJob {
  const input = {
    dataset_id: randomUUID(),
    source_id: sourceId,
    name: newName(),
    description: "",
    schema: { labels: "none", ...schema },
  };
  return { id: randomUUID(), ownerId, kind: "unpack_dataset", input };
}

async function verify(datasetId: string, owner = ownerId): Promise<VerificationReport> {
  const job = await bench.run(verifyJob(owner, datasetId, "full"));
  expect(job.error).toBeNull();
  return job.result as unknown as VerificationReport;
}

const idOf = (job: Job): string => {
  expect(job.error).toBeNull();
  return (job.result as { dataset_id: string }).dataset_id;
};

/** Path, size and hash of every file. */
async function contents(datasetId: string): Promise<readonly unknown[]> {
  const files = await listFiles(sql, datasetId, { from: 0, limit: 10_000 });
  return files.map(({ path, size, contentHash }) => [path, size, toHex(contentHash)]);
}

const expected = (files: readonly PublishedBytes[]): readonly unknown[] =>
  files
    .map(({ path, bytes }) => [path, bytes.length, toHex(hash(bytes))])
    .toSorted(([left], [right]) => ((left as string) < (right as string) ? -1 : 1));

const FIFTY = digits(50);
const SOME: readonly PublishedBytes[] = [
  { path: "set/a.bin", bytes: new Uint8Array(5000).fill(1) },
  { path: "set/b/empty.bin", bytes: new Uint8Array() },
  { path: "set/b/large.bin", bytes: new Uint8Array(300_000).map((_, i) => i) },
  { path: "top.txt", bytes: bytesOf("hello") },
];

describe.each<[string, Recipe, () => Promise<readonly PublishedBytes[]>, readonly PublishedBytes[]]>([
  ["idx files", "idx", async () => idxFiles("train", FIFTY), idxContents("train", FIFTY)],
  ["a tar", "tar", async () => [await tarFile("set.tar", SOME)], SOME],
  ["a gzipped tar", "tar", async () => [await tarFile("set.tar.gz", SOME)], SOME],
])("%s", (_, recipe, archivesOf, inside) => {
  test("become their files, whatever fits into one step, and the dataset alone holds them", async () => {
    const archives = await archivesOf();
    const entry = await publish(archives, recipe);
    const source = await create(archives);
    const hashes = new Set<string>();
    for (const filesPerStep of [1, 7, 10_000]) {
      const id = idOf(await bench.run(unpackJob(source), { filesPerStep }));
      expect(await contents(id)).toEqual(expected(inside));
      const dataset = (await findDataset(sql, ownerId, { id }))?.dataset;
      hashes.add(toHex(dataset?.contentHash ?? new Uint8Array()));
      expect(await verify(id)).toMatchObject({
        files_failed: 0,
        previous_trust: "verified",
        trust: "verified",
      });
    }
    expect(hashes.size).toBe(1);
    const [found] = await findPublicDatasets(sql, { id: entry });
    expect(toHex(found?.unpackedHash ?? new Uint8Array())).toBe([...hashes][0]);
    expect(
      await countOf(
        sql,
        "objects o join buckets b on b.id = o.bucket_id where b.name = '.unpacked' and o.state = 'live'",
      ),
    ).toBe(0);

    // Whoever has the same files from elsewhere finds the match; with one byte changed they do not.
    const same = await create(inside, strangerId);
    expect(await verify(same, strangerId)).toMatchObject({
      public_match: { version: "1", verified_by: ["somebody"] },
      previous_trust: "self",
      trust: "verified",
    });
    const [first, ...rest] = inside as [PublishedBytes, ...PublishedBytes[]];
    const bytes = Uint8Array.from([...first.bytes.subarray(1), 255]);
    const other = await create([{ ...first, bytes }, ...rest], strangerId);
    expect(await verify(other, strangerId)).toMatchObject({ public_match: null, trust: "self" });
    await deletePublicDataset(sql, entry);
  });
});

test("labels come from the folders that the idx recipe makes", async () => {
  const archives = idxFiles("train", FIFTY);
  const entry = await publish(archives, "idx");
  const id = idOf(
    await bench.run(
      unpackJob(await create(archives), {
        type: "image",
        format: "raw",
        shape: [8, 8, 1],
        dtype: "uint8",
        labels: "path",
      }),
    ),
  );
  expect((await findDataset(sql, ownerId, { id }))?.dataset.schema).toMatchObject({
    classes: ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"],
  });
  await deletePublicDataset(sql, entry);
});

describe("what cannot be unpacked says why, and leaves nothing", () => {
  const cut = async (): Promise<readonly PublishedBytes[]> => {
    const { path, bytes } = await tarFile("set.tar.gz", SOME);
    return [{ path, bytes: bytes.subarray(0, bytes.length / 2) }];
  };
  const [images, labels] = idxFiles("train", FIFTY) as [PublishedBytes, PublishedBytes];
  const [, fewer] = idxFiles("train", FIFTY.slice(1)) as [PublishedBytes, PublishedBytes];
  test.each<[string, Recipe | null, () => Promise<readonly PublishedBytes[]>, RegExp]>([
    ["an entry without a recipe", null, async () => [images], /no recipe/],
    ["half an archive", "tar", cut, /"set\.tar\.gz" cannot be unpacked/],
    ["no tar at all", "tar", async () => [labels], /cannot be unpacked/],
    ["images without labels", "idx", async () => [images], /no labels/],
    ["images and fewer labels", "idx", async () => [images, fewer], /50 images for 49 labels/],
    ["labels for images", "idx", async () => [{ ...images, bytes: labels.bytes }, labels], /3 dimensions/],
  ])("%s", async (_, recipe, archivesOf, message) => {
    const archives = await archivesOf();
    const entry = await publish(archives, recipe);
    const source = await create(archives);
    const before = await countOf(sql, "datasets");
    const job = await bench.run(unpackJob(source), { filesPerStep: 2 });
    expect(job).toMatchObject({ state: "failed", error: { code: "failed_precondition" } });
    expect(job.error?.message).toMatch(message);
    expect(await countOf(sql, "datasets")).toBe(before);
    expect(
      await countOf(
        sql,
        "objects o join buckets b on b.id = o.bucket_id where b.name = '.unpacked' and o.state = 'live'",
      ),
    ).toBe(0);
    expect((await findPublicDatasets(sql, { id: entry }))[0]?.unpackedHash).toBeNull();
    await deletePublicDataset(sql, entry);
  });

  test("a dataset that the registry does not know", async () => {
    const job = await bench.run(unpackJob(await create([labels])));
    expect(job).toMatchObject({ state: "failed", error: { code: "failed_precondition" } });
    expect(job.error?.message).toMatch(/equals no entry/);
  });
});

/** What the process writes after its death is lost. */
class MortalStorage extends MemoryJobStorage {
  dead = false;

  override put(entries: Readonly<Record<string, unknown>>): void {
    if (!this.dead) super.put(entries);
  }

  override clear(): Promise<void> {
    return this.dead ? Promise.resolve() : super.clear();
  }
}

/** Runs the job in processes of which each dies at its call `lives`, until one lives long enough. */
async function runDying(job: NewJob, lives: number): Promise<number> {
  const { harness } = bench;
  const storage = new MortalStorage();
  let deaths = 0;
  do {
    storage.dead = false;
    harness.revive();
    // Each life is a little longer, so that every step ends at last.
    const end = harness.calls.length + lives * ++deaths;
    harness.plan = ({ number }) => {
      if (number !== end) return undefined;
      storage.dead = true;
      return "crash-after";
    };
    const runner = bench.boot(storage, { filesPerStep: 20 });
    runner.accept(job);
    let ended = false;
    while (!storage.dead && !ended) ended = (await runner.advance()) === "ended";
  } while (storage.dead);
  harness.revive();
  return deaths;
}

test("processes that die on the way make the same dataset", async () => {
  const archives = idxFiles("train", FIFTY);
  const entry = await publish(archives, "idx");
  const source = await create(archives);
  for (const lives of [3, 7, 16, 31]) {
    const job = unpackJob(source);
    expect(await runDying(job, lives)).toBeGreaterThan(2);
    const id = (job.input as { dataset_id: string }).dataset_id;
    expect(await contents(id)).toEqual(expected(idxContents("train", FIFTY)));
    expect(await verify(id)).toMatchObject({ files_failed: 0, trust: "verified" });
  }
  expect(bench.harness.violations).toEqual([]);
  await deletePublicDataset(sql, entry);
});

describe("an import", () => {
  const importJob = (entry: string, files: readonly string[]): NewJob => {
    const input = {
      dataset_id: randomUUID(),
      public_dataset_id: entry,
      name: newName(),
      description: "",
      files,
      schema: { labels: "none", ...RAW },
    };
    return { id: randomUUID(), ownerId, kind: "import_public_dataset", input };
  };

  test("of the published files opens a verified copy", async () => {
    const entry = await publish(SOME, null);
    const bucket = await store(SOME);
    const id = idOf(await bench.run(importJob(entry, [`${bucket}/**`]), { filesPerStep: 3 }));
    const [found] = await findPublicDatasets(sql, { id: entry });
    const dataset = (await findDataset(sql, ownerId, { id }))?.dataset;
    expect(found).toMatchObject({ cached: { id, reference: `ada/${dataset?.name}@1` } });
    expect(found?.officialHash).toEqual(dataset?.contentHash);
    expect(dataset?.vouchedLevel).toBe(2);
    await deletePublicDataset(sql, entry);
  });

  test.each([
    ["other bytes", SOME.map((file) => ({ ...file, bytes: new Uint8Array([...file.bytes, 1]) }))],
    ["a file missing", SOME.slice(1)],
  ])("of %s is refused and leaves nothing", async (_, files) => {
    const entry = await publish(SOME, null);
    const bucket = await store(files);
    const before = await countOf(sql, "datasets");
    const job = await bench.run(importJob(entry, [`${bucket}/**`]));
    expect(job).toMatchObject({
      state: "failed",
      error: { code: "invalid_argument", details: { field: "files" } },
    });
    expect(await countOf(sql, "datasets")).toBe(before);
    expect((await findPublicDatasets(sql, { id: entry }))[0]).toMatchObject({
      cached: null,
      officialHash: null,
    });
    await deletePublicDataset(sql, entry);
  });
});
