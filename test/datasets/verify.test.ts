import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ensureBucket } from "../../catalog/buckets.ts";
import type { VerificationReport } from "../../durable-objects/jobs/verify-dataset.ts";
import { toHex } from "../../core/bytes.ts";
import { shardKey } from "../../storage/shard-key.ts";
import { bytesOf, createBench, createJob, hash, verifyJob } from "./fixture.ts";

const bench = await createBench();
afterAll(() => bench.close());
const { sql, ownerId, stores } = bench;

type Depth = "manifest" | "stored" | "full";

async function create(name: string, files: readonly string[]): Promise<string> {
  const job = await bench.run(createJob(ownerId, { name, files }));
  expect(job.state).toBe("succeeded");
  return (job.result as { dataset_id: string }).dataset_id;
}

async function verify(datasetId: string, depth: Depth, filesPerStep = 3): Promise<VerificationReport> {
  bench.damage.length = 0;
  const job = await bench.run(verifyJob(ownerId, datasetId, depth), { filesPerStep });
  expect(job.error).toBeNull();
  return job.result as unknown as VerificationReport;
}

interface Placed {
  readonly chunk: string;
  readonly shards: readonly {
    readonly index: number;
    readonly store: (typeof stores)[number];
    readonly key: string;
  }[];
}

/** The first chunk of an object, and where its shards lie. */
async function placeOf(objectId: string): Promise<Placed> {
  const rows = await sql.query({
    text: `select s.chunk_id, s.shard_index, s.generation, n.name from shards s join storage_nodes n on n.id = s.node_id
      where s.chunk_id = (select chunk_id from extents where object_id = $1 order by object_offset limit 1)
      order by s.shard_index`,
    values: [objectId],
  });
  const chunk = rows[0]?.chunk_id as string;
  return {
    chunk,
    shards: rows.map((row) => ({
      index: row.shard_index as number,
      store: stores[Number((row.name as string).slice(-1)) - 1] as (typeof stores)[number],
      key: shardKey(chunk, row.shard_index as number, row.generation as number),
    })),
  };
}

/** Damages the first byte of some of a chunk's shards. */
function flip({ shards }: Placed, indices: readonly number[]): void {
  for (const index of indices) {
    const { store, key } = shards[index] as Placed["shards"][number];
    const bytes = store.shards.get(key) as Uint8Array;
    bytes[0] = (bytes[0] as number) ^ 0xff;
  }
}

async function objectOf(datasetId: string, column: "manifest_object_id" | "tree_object_id"): Promise<string> {
  const [row] = await sql.query({
    text: `select ${column} as id from datasets where id = $1`,
    values: [datasetId],
  });
  return row?.id as string;
}

const INTACT = { manifest_valid: true, all_files_valid: true, files_failed: 0, files: [] };

describe("an intact dataset", () => {
  let id: string;
  beforeAll(async () => {
    const bucket = await bench.bucket("intact");
    for (let i = 0; i < 7; i++) await bench.put(bucket, `${i}.bin`, new Uint8Array(i * 3000).fill(i));
    id = await create("intact", ["intact/*"]);
  });

  test.each(["stored", "full"] as const)("is valid to depth %s", async (depth) => {
    expect(await verify(id, depth)).toEqual({
      ...INTACT,
      dataset_id: id,
      depth,
      files_checked: 7,
      public_match: null,
      trust_level: 0,
      trust: "self",
      previous_trust_level: 0,
      previous_trust: "self",
      verified_at: "2026-11-22T00:00:00.000Z",
    });
  });

  test("says of its files nothing when only the manifest was read", async () => {
    const report = await verify(id, "manifest");
    expect(report).toMatchObject({
      manifest_valid: true,
      all_files_valid: false,
      files_checked: 0,
      files: [],
    });
  });

  test("that the registry lists is verified", async () => {
    const text = `insert into public_datasets (name, version, official_url, official_hash, verified_by)
      select 'Digits', '1', 'https://example.org', content_hash, '{torchvision}' from datasets where id = $1`;
    await sql.query({ text, values: [id] });
    expect(await verify(id, "stored")).toMatchObject({
      public_match: { name: "Digits", version: "1", verified_by: ["torchvision"] },
      trust_level: 2,
      trust: "verified",
    });
  });
});

describe("a catalog that changed", () => {
  test.each(["stored", "full"] as const)("another content hash is found to depth %s", async (depth) => {
    const bucket = await bench.bucket("hashes");
    const files = ["a", "b", "c", "d"].map(
      (name) => [`${name}-${depth}`, bytesOf(`${name} ${depth}`)] as const,
    );
    const ids = new Map<string, string>();
    for (const [name, bytes] of files) ids.set(name, await bench.put(bucket, name, bytes));
    const id = await create(`hashes-${depth}`, [`hashes/*-${depth}`]);
    const wrong = new Uint8Array(32).fill(7);
    await sql.query({
      text: "update objects set content_hash = $2 where id = $1",
      values: [ids.get(`c-${depth}`) as string, wrong],
    });
    expect(await verify(id, depth)).toMatchObject({
      manifest_valid: true,
      all_files_valid: false,
      files_checked: 4,
      files_failed: 1,
      files: [
        {
          path: `c-${depth}`,
          expected_hash: toHex(hash(bytesOf(`c ${depth}`))),
          actual_hash: toHex(wrong),
          valid: false,
        },
      ],
    });
  });

  test("failures are counted beyond those that are listed", async () => {
    const bucket = await bench.bucket("many");
    const keys = Array.from({ length: 1500 }, (_, i) => `${String(i).padStart(4, "0")}.bin`);
    await bench.declare(bucket, keys);
    const id = await create("many", ["many/*"]);
    await sql.query({ text: "update objects set size = size + 1 where bucket_id = $1", values: [bucket] });
    const report = await verify(id, "stored", 400);
    expect(report).toMatchObject({ all_files_valid: false, files_checked: 1500, files_failed: 1500 });
    expect(report.files.map(({ path }) => path)).toEqual(keys.slice(0, 1000));
  });

  test("another path is found", async () => {
    const bucket = await bench.bucket("paths");
    await bench.declare(bucket, ["a.bin", "b.bin", "c.bin"]);
    const id = await create("paths", ["paths/*"]);
    const text =
      "update dataset_files set path_in_dataset = 'z.bin' where dataset_id = $1 and file_index = 1";
    await sql.query({ text, values: [id] });
    const report = await verify(id, "stored");
    expect(report.files.map(({ path }) => path)).toEqual(["b.bin"]);
  });
});

describe("bytes that changed", () => {
  test("two lying shards are healed and reported; a third loses the files of the chunk, and only those", async () => {
    const bucket = await bench.bucket("bytes");
    const objects: string[] = [];
    for (let i = 0; i < 6; i++)
      objects.push(await bench.put(bucket, `${i}.bin`, new Uint8Array(4000).fill(i + 1)));
    const id = await create("bytes", ["bytes/*"]);
    const place = await placeOf(objects[2] as string);
    flip(place, [0, 3]);
    expect(await verify(id, "full")).toMatchObject({ ...INTACT, files_checked: 6 });
    expect(new Set(bench.damage.map(({ shardIndex }) => shardIndex))).toEqual(new Set([0, 3]));
    expect(new Set(bench.damage.map(({ chunkId }) => chunkId))).toEqual(new Set([place.chunk]));

    flip(place, [1]);
    expect(await verify(id, "stored")).toMatchObject(INTACT);
    const report = await verify(id, "full");
    expect(report).toMatchObject({
      manifest_valid: true,
      all_files_valid: false,
      files_checked: 6,
      files_failed: 1,
    });
    const expected_hash = toHex(hash(new Uint8Array(4000).fill(3)));
    expect(report.files).toEqual([{ path: "2.bin", expected_hash, actual_hash: "", valid: false }]);
  });

  test("an item too large to stream is read all the same", async () => {
    const bucket = await bench.bucket("large");
    const bytes = new Uint8Array(33 * 1024 * 1024).fill(9);
    const { bucket: large } = await ensureBucket(sql, {
      ownerId,
      name: "huge",
      chunkBytes: 16 * 1024 * 1024,
      dataShards: 4,
      parityShards: 2,
    });
    await bench.put(bucket, "first.bin", bytesOf("first"));
    const object = await bench.put(large.id, "second.bin", bytes);
    await bench.put(bucket, "third.bin", bytesOf("third"));
    const id = await create("large", ["large/*", "huge/*"]);
    const place = await placeOf(object);
    flip(place, [2]);
    expect(await verify(id, "full")).toMatchObject({ ...INTACT, files_checked: 3 });
    flip(place, [4, 5]);
    const report = await verify(id, "full");
    expect(report.files.map(({ path }) => path)).toEqual(["second.bin"]);
  });
});

describe("a manifest that changed", () => {
  const fresh = async (name: string): Promise<string> => {
    const bucket = await bench.bucket(name);
    await bench.declare(bucket, ["a.bin", "b.bin"]);
    return create(name, [`${name}/*`]);
  };
  const BROKEN = { manifest_valid: false, all_files_valid: false, files_checked: 0, files: [] };

  test("in two shards is healed", async () => {
    const id = await fresh("healed");
    flip(await placeOf(await objectOf(id, "manifest_object_id")), [0, 5]);
    expect(await verify(id, "stored")).toMatchObject({ ...INTACT, files_checked: 2 });
  });

  test.each(["manifest", "stored", "full"] as const)(
    "in three shards is found to depth %s",
    async (depth) => {
      const id = await fresh(`lost-${depth}`);
      flip(await placeOf(await objectOf(id, "manifest_object_id")), [0, 1, 2]);
      expect(await verify(id, depth)).toMatchObject(BROKEN);
    },
  );

  test("for that of another dataset is found", async () => {
    const [one, two] = [await fresh("one"), await fresh("two")];
    const text = "update datasets set manifest_object_id = $2 where id = $1";
    await sql.query({ text, values: [one, await objectOf(two, "manifest_object_id")] });
    // The same files have the same manifest.
    expect(await verify(one, "manifest")).toMatchObject({ manifest_valid: true });
    const other = await bench.bucket("other");
    await bench.declare(other, ["a.bin", "c.bin"]);
    await sql.query({
      text,
      values: [one, await objectOf(await create("other", ["other/*"]), "manifest_object_id")],
    });
    expect(await verify(one, "manifest")).toMatchObject(BROKEN);
  });

  test("whose page tree is another is found", async () => {
    const id = await fresh("tree");
    const text = "update datasets set tree_object_id = manifest_object_id where id = $1";
    await sql.query({ text, values: [id] });
    expect(await verify(id, "manifest")).toMatchObject(BROKEN);
  });
});

test("a dataset that is deleted meanwhile ends the job", async () => {
  const job = await bench.run(verifyJob(ownerId, "00000000-0000-4000-8000-000000000000", "stored"));
  expect(job).toMatchObject({ state: "failed", error: { code: "not_found" } });
});
