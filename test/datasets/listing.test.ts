import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type DatasetQuery, listDatasets, listVersions } from "../../catalog/datasets.ts";
import { evidenceStatement, matchRegistry } from "../../catalog/registry-match.ts";
import { findJob, listJobs, type JobPosition } from "../../catalog/jobs.ts";
import { putShare } from "../../catalog/shares.ts";
import { createUser } from "../../catalog/users.ts";
import { createBench, createJob } from "./fixture.ts";

const bench = await createBench();
afterAll(() => bench.close());
const { sql, ownerId: ada } = bench;
const { id: eve } = await createUser(sql, { name: "eve", role: "owner" });
const NAMES = ["apples", "bees", "cats", "cats-big", "dogs"];
const ids = new Map<string, string>();

beforeAll(async () => {
  for (const owner of [ada, eve]) await bench.declare(await bench.bucket("photos", owner), ["a.png"]);
  for (const name of [...NAMES, "cats"]) {
    const job = await bench.run(createJob(ada, { name, files: ["photos/*"] }));
    ids.set(`${name}@${String(job.result?.version)}`, job.result?.dataset_id as string);
  }
  await bench.run(createJob(eve, { name: "cats", files: ["photos/*"] }));
});

async function list(userId: string, query: Partial<DatasetQuery> = {}): Promise<string[]> {
  const rows = await listDatasets(sql, userId, {
    search: undefined,
    isPublic: false,
    maxTrustLevel: 4,
    after: undefined,
    limit: 100,
    ...query,
  });
  return rows.map(({ ownerName, name, version }) => `${ownerName}/${name}@${version}`);
}

const ADAS = ["ada/apples@1", "ada/bees@1", "ada/cats@2", "ada/cats-big@1", "ada/dogs@1"];

describe("datasets", () => {
  test("are listed by name, newest version each, to nobody but who may see them", async () => {
    expect(await list(ada)).toEqual(ADAS);
    expect(await list(eve)).toEqual(["eve/cats@1"]);
  });

  test("are found by a part of their name, as text and not as a pattern", async () => {
    expect(await list(ada, { search: "cat" })).toEqual(["ada/cats@2", "ada/cats-big@1"]);
    expect(await list(ada, { search: "BIG" })).toEqual(["ada/cats-big@1"]);
    for (const search of ["%", "_", "c.ts", "'"]) expect(await list(ada, { search })).toEqual([]);
  });

  test.each([1, 2, 3])("come in pages of %i without a gap or a repetition", async (limit) => {
    const seen: string[] = [];
    for (let after: DatasetQuery["after"]; ;) {
      const page = await list(ada, { limit, after });
      seen.push(...page);
      const [owner = "", name = ""] = (page.at(-1) ?? "").split(/[/@]/);
      if (page.length < limit) break;
      after = { owner, name };
    }
    expect(seen).toEqual(ADAS);
  });

  test("of others come with a share, by version, and by the trust they have for the reader", async () => {
    await putShare(sql, {
      datasetId: ids.get("cats@1") ?? "",
      grantedBy: ada,
      userId: eve,
      permissions: ["read"],
      expiresAt: null,
    });
    expect(await list(eve)).toEqual(["ada/cats@1", "eve/cats@1"]);
    expect(await list(eve, { maxTrustLevel: 3 })).toEqual(["eve/cats@1"]);
    expect(await list(eve, { limit: 1 })).toEqual(["ada/cats@1"]);
    expect(await list(eve, { limit: 1, after: { owner: "ada", name: "cats" } })).toEqual(["eve/cats@1"]);
    const versions = await listVersions(sql, eve, { ownerId: ada, name: "cats" });
    expect(versions.map(({ version }) => version)).toEqual([1]);
    expect(
      (await listVersions(sql, ada, { ownerId: ada, name: "cats" })).map(({ version }) => version),
    ).toEqual([2, 1]);
  });

  test("that the registry lists are verified to everybody", async () => {
    const text = `insert into public_datasets (name, version, official_url, official_hash, verified_by)
      select 'Cats', v, 'https://example.org', content_hash, '{somebody}' from datasets, unnest(array['1', '2']) as v
      where id = $1`;
    const id = ids.get("cats@1") ?? "";
    await sql.query({ text, values: [id] });
    // Without evidence, which a verification writes, the registry alone says nothing.
    expect(await list(eve, { maxTrustLevel: 2 })).toEqual(["eve/cats@1"]);
    const match = await matchRegistry(sql, id);
    expect(match).toMatchObject({ name: "Cats", version: "1", verifiedBy: ["somebody"], form: "published" });
    for (let i = 0; i < 2; i++) await sql.query(evidenceStatement(id, match?.id ?? "", eve));
    // Two entries for one content are one match.
    expect(await list(eve, { maxTrustLevel: 2 })).toEqual(["ada/cats@1", "eve/cats@1"]);
    expect(await list(eve, { maxTrustLevel: 1 })).toEqual(["eve/cats@1"]);
  });
});

test("copies of published datasets are listed to everybody who asks for public ones, and marked", async () => {
  const cached = ids.get("bees@1") ?? "";
  await sql.query({
    text: `insert into public_datasets (name, version, official_url, cached_dataset_id)
           values ('Bees', '1', 'https://example.org', $1)`,
    values: [cached],
  });
  const { id: zoe } = await createUser(sql, { name: "zoe", role: "owner" });
  for (const user of [ada, eve, zoe]) expect(await list(user, { isPublic: true })).toEqual(["ada/bees@1"]);
  expect(await list(zoe)).toEqual([]);
  expect(await list(zoe, { isPublic: true, search: "cats" })).toEqual([]);
  expect(await list(zoe, { isPublic: true, maxTrustLevel: 2 })).toEqual([]);
  const versions = await listVersions(sql, zoe, { ownerId: ada, name: "bees" });
  expect(versions).toMatchObject([{ id: cached, isPublic: true }]);
  expect(await listVersions(sql, zoe, { ownerId: ada, name: "cats" })).toEqual([]);
  // To its owner it is one of theirs, and marked.
  const rows = await listVersions(sql, ada, { ownerId: ada, name: "bees" });
  expect(rows).toMatchObject([{ isPublic: true }]);
});

test("jobs are their owner's alone, newest first, in pages", async () => {
  const seen: string[] = [];
  for (let after: JobPosition | undefined; ;) {
    const page = await listJobs(sql, ada, { after, limit: 2 });
    seen.push(...page.map(({ id }) => id));
    const last = page.at(-1);
    if (last === undefined || page.length < 2) break;
    after = { createdAtMs: last.createdAt.getTime(), id: last.id };
  }
  expect(seen).toHaveLength(NAMES.length + 1);
  expect(new Set(seen).size).toBe(seen.length);
  const times = await Promise.all(
    seen.map(async (id) => (await findJob(sql, ada, id))?.createdAt.getTime() ?? 0),
  );
  expect(times).toEqual(times.toSorted((a, b) => b - a));
  expect(await findJob(sql, eve, seen[0] ?? "")).toBeUndefined();
  expect(await listJobs(sql, eve, { after: undefined, limit: 10 })).toHaveLength(1);
});
