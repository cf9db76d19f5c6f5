import fc from "fast-check";
import { afterAll, expect, test } from "vitest";
import { ensureBucket, findBucket, listBuckets } from "../../catalog/buckets.ts";
import { dropObjects, findLiveObject, listObjects } from "../../catalog/objects.ts";
import { compareUtf8 } from "../../core/text.ts";
import { createBench, patterned, upload } from "./fixture.ts";

const bench = await createBench();
afterAll(() => bench.close());
const { sql, ownerId, bucketId } = bench;

/** A live row without bytes: what listing sees of an empty object. */
async function insert(keys: readonly string[]): Promise<void> {
  await sql.query({
    text: `insert into objects (bucket_id, key, state, size, content_hash)
      select $1, unnest($2::text[]), 'live', 0, decode(repeat('00', 32), 'hex')`,
    values: [bucketId, [...keys]],
  });
}

test("pages of a prefix are the keys that begin with it, in byte order", async () => {
  const character = fc.constantFrom("a", "b", "/", "%", "_", "\\", "é", "\u{1f600}", "\uff21", "\u{10ffff}");
  const key = fc.array(character, { minLength: 1, maxLength: 4 }).map((characters) => characters.join(""));
  await fc.assert(
    fc.asyncProperty(
      fc.uniqueArray(key, { maxLength: 30 }),
      fc.option(key, { nil: "" }),
      fc.integer({ min: 1, max: 7 }),
      async (keys, prefix, limit) => {
        await sql.query({ text: "delete from objects", values: [] });
        await insert(keys);
        const found: string[] = [];
        for (let after: string | null | undefined; after !== null;) {
          const page = await listObjects(sql, {
            bucketId,
            prefix,
            limit,
            ...(after !== undefined && { after }),
          });
          expect(page.objects.length).toBeLessThanOrEqual(limit);
          found.push(...page.objects.map((object) => object.key));
          after = page.nextAfter;
        }
        expect(found).toEqual(keys.filter((each) => each.startsWith(prefix)).toSorted(compareUtf8));
      },
    ),
    { numRuns: 100 },
  );
});

test("a listing reads the index from the prefix on, not the whole bucket", async () => {
  await sql.query({ text: "delete from objects", values: [] });
  await insert(Array.from({ length: 5000 }, (_, i) => `${String.fromCharCode(97 + (i % 26))}/${i}`));
  await sql.query({ text: "analyze objects", values: [] });
  const plan = await sql.query({
    text: `explain select key from objects
      where bucket_id = '${bucketId}' and state = 'live' and key ^@ 'q/' and key > '' order by key limit 10`,
    values: [],
  });
  const text = plan.map((row) => row["QUERY PLAN"]).join("\n");
  expect(text).toMatch(/Index.*objects_live_key/);
  expect(text).toMatch(/key >= 'q\/'/);
});

test("lookup and deletion see live objects alone", async () => {
  await upload(bench, bench.deps(), { kind: "object", key: "x" }, [patterned(10)]);
  expect(await findLiveObject(sql, bucketId, "x")).toMatchObject({ key: "x", size: 10 });
  expect(await dropObjects(sql, bucketId, ["x", "x", "absent"])).toBe(1);
  expect(await dropObjects(sql, bucketId, ["x"])).toBe(0);
  expect(await findLiveObject(sql, bucketId, "x")).toBeUndefined();
});

test("a bucket is created once, with the geometry of the first time", async () => {
  const geometry = { chunkBytes: 65_536, dataShards: 2, parityShards: 1 };
  const { bucket, created } = await ensureBucket(sql, { ownerId, name: "other", ...geometry });
  expect(created).toBe(true);
  const again = await ensureBucket(sql, { ownerId, name: "other", ...geometry, chunkBytes: 4096 });
  expect(again).toEqual({ bucket, created: false });
  expect(await findBucket(sql, ownerId, "other")).toEqual({
    ...geometry,
    id: bucket.id,
    ownerId,
    name: "other",
  });
  expect(await findBucket(sql, ownerId, "none")).toBeUndefined();
  expect((await listBuckets(sql, ownerId)).map(({ name }) => name)).toEqual(["data", "other"]);
});
