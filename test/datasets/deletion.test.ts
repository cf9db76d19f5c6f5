import { afterAll, expect, test } from "vitest";
import { sweep, withdrawStatements } from "../../catalog/dataset-building.ts";
import { findDataset, listVersions } from "../../catalog/datasets.ts";
import { dropObjects } from "../../catalog/objects.ts";
import { collectGarbage } from "../../storage/collect-garbage.ts";
import { writeCatalog } from "../../catalog/write-catalog.ts";
import { deleteDataset } from "../../functions/dataset-work.ts";
import { bytesOf, clock, countOf, createBench, createJob } from "./fixture.ts";

const bench = await createBench();
afterAll(() => bench.close());
const { sql, ownerId } = bench;
const photos = await bench.bucket("photos");

async function create(name: string, files: readonly string[]): Promise<string> {
  const job = await bench.run(createJob(ownerId, { name, files }));
  return (job.result as { dataset_id: string }).dataset_id;
}

/** Collects until nothing is left to collect, with no grace. */
async function collect(): Promise<void> {
  const deps = { ...bench.direct.uploads, catalog: writeCatalog(sql) };
  for (let i = 0; i < 4; i++) await collectGarbage(deps, { now: clock.now() + i * 1000, graceMs: 0 });
}

const shardsStored = (): number => bench.stores.reduce((sum, store) => sum + store.shards.size, 0);

test("a deleted version is gone at once; its number is never given out again", async () => {
  await bench.put(photos, "a.png", bytesOf("a"));
  const [v1, v2] = [await create("pets", ["photos/*"]), await create("pets", ["photos/*"])];
  const clean = await deleteDataset(sql, v2);
  expect(await findDataset(sql, ownerId, { id: v2 })).toBeUndefined();
  expect((await findDataset(sql, ownerId, { name: "pets" }))?.dataset.id).toBe(v1);
  await clean();
  expect(await countOf(sql, "datasets")).toBe(1);
  const v3 = await create("pets", ["photos/*"]);
  expect((await findDataset(sql, ownerId, { id: v3 }))?.dataset).toMatchObject({ version: 3, parentId: v1 });

  // The parent goes, the child stays.
  await (
    await deleteDataset(sql, v1)
  )();
  expect((await findDataset(sql, ownerId, { id: v3 }))?.dataset).toMatchObject({
    version: 3,
    parentId: null,
  });
  const left = await listVersions(sql, ownerId, { ownerId, name: "pets" });
  expect(left.map(({ version }) => version)).toEqual([3]);
});

test("bytes live as long as the key or a dataset names them, manifests as long as their dataset", async () => {
  await sql.transaction(
    (await sql.query({ text: "select id from datasets", values: [] })).flatMap(({ id }) =>
      withdrawStatements(id as string),
    ),
  );
  while (await sweep(sql, 100));
  await dropObjects(sql, photos, ["a.png"]);
  await collect();
  expect(shardsStored()).toBe(0);

  await bench.put(photos, "a.png", bytesOf("a"));
  await bench.put(photos, "b.png", bytesOf("b"));
  expect(shardsStored()).toBe(12);
  const id = await create("keeper", ["photos/*"]);
  expect(shardsStored()).toBe(24);
  await dropObjects(sql, photos, ["a.png"]);
  await collect();
  expect(shardsStored()).toBe(24);
  await (
    await deleteDataset(sql, id)
  )();
  await collect();
  // Only b.png is left.
  expect(shardsStored()).toBe(6);
  expect(await countOf(sql, "dataset_files")).toBe(0);
});

test("many rows are removed in bounded pieces", async () => {
  const keys = Array.from({ length: 250 }, (_, i) => `many/${i}.png`);
  await bench.declare(photos, keys);
  const id = await create("many", ["photos/many/*"]);
  const other = await create("other", ["photos/many/1*.png"]);
  await sql.transaction(withdrawStatements(id));
  const left: number[] = [];
  for (let more = true; more;) {
    more = await sweep(sql, 100);
    left.push(await countOf(sql, "dataset_files where dataset_id = $1", [id]));
  }
  expect(left).toEqual([150, 50, 0]);
  expect(await findDataset(sql, ownerId, { id: other })).toBeDefined();
  expect(await countOf(sql, "datasets where state = 'building'")).toBe(0);
});
