/** Which dataset versions equal an entry of the registry, and which only look like it. */
import { createHash, randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { findDataset } from "../../catalog/datasets.ts";
import { matchRegistry } from "../../catalog/registry-match.ts";
import { deletePublicDataset, insertPublicDataset, listPublicFiles } from "../../catalog/registry.ts";
import { publicDatasetOf } from "../../functions/registry.ts";
import type { VerificationReport } from "../../durable-objects/jobs/verify-dataset.ts";
import { bytesOf, createBench, createJob, verifyJob } from "../datasets/fixture.ts";

const bench = await createBench();
afterAll(() => bench.close());
const { sql, ownerId } = bench;

const DIGITS = readFileSync(
  join(import.meta.dirname, "..", "..", "scripts", "demo", "data", "optical-digits.csv.gz"),
);

interface Published {
  readonly path: string;
  readonly bytes: Uint8Array;
}

const sha256 = (bytes: Uint8Array): Uint8Array => new Uint8Array(createHash("sha256").update(bytes).digest());
const md5 = (bytes: Uint8Array): Uint8Array => new Uint8Array(createHash("md5").update(bytes).digest());

/** Adds an entry of these files under a name of its own. */
async function publish(files: readonly Published[], size: "known" | "unknown" = "known"): Promise<string> {
  const id = randomUUID();
  await insertPublicDataset(sql, {
    id,
    name: `Pets ${id.slice(0, 8)}`,
    version: "1",
    officialUrl: "https://example.org/pets",
    license: null,
    verifiedBy: ["somebody"],
    recipe: null,
    officialHash: null,
    files: files.map(({ path, bytes }) => ({
      path,
      sha256: sha256(bytes),
      md5: md5(bytes),
      size: size === "known" ? bytes.length : null,
      url: null,
      source: "somebody",
    })),
  });
  return id;
}

let buckets = 0;

/** A dataset of just these files. */
async function create(files: readonly Published[]): Promise<string> {
  const name = `files-${++buckets}`;
  const bucket = await bench.bucket(name);
  for (const { path, bytes } of files) await bench.put(bucket, path, bytes);
  const job = await bench.run(createJob(ownerId, { name, files: [`${name}/**`] }));
  expect(job.error).toBeNull();
  return (job.result as { dataset_id: string }).dataset_id;
}

async function verify(datasetId: string): Promise<VerificationReport> {
  const job = await bench.run(verifyJob(ownerId, datasetId, "stored"));
  expect(job.error).toBeNull();
  return job.result as unknown as VerificationReport;
}

const [CATS, DOGS] = [
  { path: "cats.bin", bytes: bytesOf("many cats") },
  { path: "dogs.bin", bytes: bytesOf("many dogs") },
] as const;

describe("a set of published files", () => {
  test.each([
    ["as published", [CATS, DOGS]],
    ["below one folder", [CATS, DOGS].map((file) => ({ ...file, path: `a/raw/${file.path}` }))],
  ])("%s is verified", async (_, files) => {
    const entry = await publish([CATS, DOGS]);
    const report = await verify(await create(files));
    expect(report).toMatchObject({
      public_match: { version: "1", verified_by: ["somebody"] },
      previous_trust: "self",
      trust: "verified",
      trust_level: 2,
    });
    await deletePublicDataset(sql, entry);
  });

  const changed = { ...DOGS, bytes: bytesOf("many dogx") };
  test.each<[string, readonly Published[]]>([
    ["with a file missing", [CATS]],
    ["with a file more", [CATS, DOGS, { path: "readme.txt", bytes: bytesOf("hello") }]],
    ["with one byte changed", [CATS, changed]],
    ["with a file twice in place of the other", [CATS, { path: "dogs.bin", bytes: CATS.bytes }]],
    [
      "with names swapped",
      [
        { path: "cats.bin", bytes: DOGS.bytes },
        { path: "dogs.bin", bytes: CATS.bytes },
      ],
    ],
    ["with a file renamed", [CATS, { ...DOGS, path: "wolves.bin" }]],
    ["with a name that only ends alike", [CATS, { ...DOGS, path: "hotdogs.bin" }]],
    [
      "in two folders",
      [
        { ...CATS, path: "a/cats.bin" },
        { ...DOGS, path: "b/dogs.bin" },
      ],
    ],
  ])("%s is not", async (_, files) => {
    const entry = await publish([CATS, DOGS]);
    const equal = await create([CATS, DOGS]);
    const other = await create(files);
    expect(await matchRegistry(sql, equal)).toMatchObject({ id: entry, form: "published" });
    expect(await matchRegistry(sql, other)).toBeUndefined();
    expect(await verify(other)).toMatchObject({ public_match: null, trust: "self", previous_trust: "self" });
    await deletePublicDataset(sql, entry);
  });

  test("has to have the published size where there is one", async () => {
    const dataset = await create([CATS]);
    const unsized = await publish([CATS], "unknown");
    expect(await matchRegistry(sql, dataset)).toMatchObject({ id: unsized });
    await sql.query({
      text: "update public_files set size_bytes = $2 where public_dataset_id = $1",
      values: [unsized, CATS.bytes.length + 1],
    });
    expect(await matchRegistry(sql, dataset)).toBeUndefined();
    await deletePublicDataset(sql, unsized);
  });

  test("that is published by MD5 alone never verifies", async () => {
    const dataset = await create([CATS]);
    const entry = await publish([CATS]);
    expect(await matchRegistry(sql, dataset)).toMatchObject({ id: entry });
    await sql.query({
      text: "update public_files set sha256 = null where public_dataset_id = $1",
      values: [entry],
    });
    expect((await listPublicFiles(sql, entry))[0]?.md5).toEqual(md5(CATS.bytes));
    expect(await matchRegistry(sql, dataset)).toBeUndefined();
    expect(await verify(dataset)).toMatchObject({ public_match: null, trust: "self" });
    await deletePublicDataset(sql, entry);
  });

  test("whose objects have no SHA-256 is hashed first, once", async () => {
    const entry = await publish([CATS, DOGS]);
    const dataset = await create([CATS, DOGS]);
    const select = {
      text: `select o.sha256 from dataset_files f join objects o on o.id = f.object_id where f.dataset_id = $1
        order by file_index`,
      values: [dataset],
    };
    await sql.query({
      text: "update objects set sha256 = null where id in (select object_id from dataset_files where dataset_id = $1)",
      values: [dataset],
    });
    expect(await verify(dataset)).toMatchObject({ trust: "verified" });
    expect(await sql.query(select)).toEqual([{ sha256: sha256(CATS.bytes) }, { sha256: sha256(DOGS.bytes) }]);
    await deletePublicDataset(sql, entry);
  });

  test("is verified until the entry is removed", async () => {
    const entry = await publish([CATS, DOGS]);
    const dataset = await create([CATS, DOGS]);
    await verify(dataset);
    const levelOf = async (): Promise<unknown> =>
      (await findDataset(sql, ownerId, { id: dataset }))?.dataset.vouchedLevel;
    expect(await levelOf()).toBe(2);
    await deletePublicDataset(sql, entry);
    expect(await levelOf()).toBe(4);
  });

  test("that failed its verification matches nothing", async () => {
    const dataset = await create([CATS, DOGS]);
    const entry = randomUUID();
    await sql.query({
      text: `insert into public_datasets (id, name, version, official_url, official_hash)
        select $1::uuid, 'Broken', '1', 'https://example.org', content_hash from datasets where id = $2`,
      values: [entry, dataset],
    });
    const shift = (by: number): Promise<unknown> =>
      sql.query({
        text: "update objects set size = size + $2 where id in (select object_id from dataset_files where dataset_id = $1)",
        values: [dataset, by],
      });
    await shift(1);
    expect(await verify(dataset)).toMatchObject({ files_failed: 2, public_match: null, trust: "self" });
    await shift(-1);
    expect(await verify(dataset)).toMatchObject({
      files_failed: 0,
      public_match: { name: "Broken" },
      trust: "verified",
    });
    await deletePublicDataset(sql, entry);
  });
});

test("the registry knows the digits that come with the project", async () => {
  const entry = await publicDatasetOf(sql, "optical digits");
  const [file] = await listPublicFiles(sql, entry.id);
  expect(entry).toMatchObject({ version: "scikit-learn", license: "CC BY 4.0", recipe: "gzip" });
  expect(file).toMatchObject({ path: "digits.csv.gz", size: DIGITS.length, sha256: sha256(DIGITS) });
  const report = await verify(await create([{ path: "digits.csv.gz", bytes: DIGITS }]));
  expect(report).toMatchObject({
    public_match: { name: "Optical Digits", version: "scikit-learn", verified_by: ["scikit-learn"] },
    trust: "verified",
  });
});

describe("the seed", () => {
  test("has files of every entry, each published one with a SHA-256", async () => {
    const rows = await sql.query({
      text: `select p.name, p.version, count(f.path)::integer as files, bool_and(f.unpacked or f.sha256 is not null) as hashed
        from public_datasets p left join public_files f on f.public_dataset_id = p.id
        where p.name !~ '^Pets' group by 1, 2`,
      values: [],
    });
    expect(rows).toHaveLength(15);
    for (const row of rows) expect(row).toMatchObject({ hashed: true, files: expect.any(Number) });
  });

  test("a name that stands for several entries is refused with their names", async () => {
    await expect(publicDatasetOf(sql, "CIFAR-10")).rejects.toMatchObject({
      code: "invalid_argument",
      message: expect.stringContaining("CIFAR-10@binary or CIFAR-10@python"),
    });
    expect(await publicDatasetOf(sql, "cifar-10@python")).toMatchObject({
      verifiedBy: ["torchvision", "keras"],
    });
    await expect(publicDatasetOf(sql, "nothing")).rejects.toMatchObject({ code: "not_found" });
  });
});
