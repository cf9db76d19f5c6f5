/** A job that dies anywhere goes on, and leaves what it would have left without dying. */
import fc from "fast-check";
import { afterAll, beforeEach, describe, expect, test } from "vitest";
import { findDataset, listFiles } from "../../catalog/datasets.ts";
import { findJob, type Job, type NewJob } from "../../catalog/jobs.ts";
import { Manifest } from "../../core/dataset/manifest.ts";
import { MANIFEST_PAGE_BYTES } from "../../core/dataset/manifest-proof.ts";
import { type JobStorage, MemoryJobStorage } from "../../durable-objects/jobs/program.ts";
import { CrashError, type Fault, type FaultPlan } from "../support/faults.ts";
import { countOf, createBench, createJob, hash, verifyJob } from "./fixture.ts";

const bench = await createBench();
afterAll(() => bench.close());
const { sql, ownerId, harness } = bench;

// Long enough paths for a manifest of two parts, in three pages of objects.
const photos = await bench.bucket("photos");
const KEYS = Array.from({ length: 200 }, (_, i) => `class-${i % 10}/${"long-".repeat(60)}${i}.png`);
await bench.declare(photos, KEYS);
const OPTIONS = { filesPerStep: 90, partBytes: MANIFEST_PAGE_BYTES };

/** What the process writes after its death is lost, as it would be on the platform. */
class MortalStorage extends MemoryJobStorage {
  dead = false;

  override put(entries: Readonly<Record<string, unknown>>): void {
    if (!this.dead) super.put(entries);
  }

  override clear(): Promise<void> {
    return this.dead ? Promise.resolve() : super.clear();
  }
}

interface Run {
  readonly job: Job;
  /** Calls of ports until the job had ended, deaths included. */
  readonly calls: number;
  readonly died: boolean;
}

/** Runs a job whose process meets `fault` at call `at` of its life, and goes on in a new process. */
async function runWith(newJob: NewJob, fault: Fault | undefined, at: number): Promise<Run> {
  const storage = new MortalStorage();
  const first = harness.calls.length;
  let died = false;
  let faulty = fault !== undefined;
  harness.plan = ({ number }) => {
    if (!faulty || number - first !== at) return undefined;
    faulty = false;
    died = true;
    if (fault === "crash" || fault === "crash-after") storage.dead = true;
    return fault;
  };
  let done = 0;
  for (let runner = bench.boot(storage, OPTIONS), ended = false; !ended;) {
    runner.accept(newJob);
    ended = (await runner.advance()) === "ended" && !storage.dead;
    const job = await findJob(sql, ownerId, newJob.id);
    expect(job?.done ?? 0).toBeGreaterThanOrEqual(done);
    done = job?.done ?? 0;
    if (!storage.dead) continue;
    storage.dead = false;
    const plan: FaultPlan | undefined = harness.plan;
    harness.revive();
    harness.plan = plan;
    runner = bench.boot(storage, OPTIONS);
  }
  harness.revive();
  expect(harness.violations).toEqual([]);
  return {
    job: (await findJob(sql, ownerId, newJob.id)) as Job,
    calls: harness.calls.length - first,
    died,
  };
}

const FAULTS: readonly Fault[] = ["crash", "crash-after", "fail", "lose-answer"];

/** Every fault at every call of a job that takes `calls` of them when nothing happens. */
async function everywhere(make: () => NewJob, check: (job: Job) => Promise<void>): Promise<number> {
  const quiet = await runWith(make(), undefined, 0);
  await check(quiet.job);
  for (const fault of FAULTS) {
    for (let at = 1; at <= quiet.calls; at++) {
      const { job, died } = await runWith(make(), fault, at);
      expect(died, `${fault} at call ${at}`).toBe(true);
      await check(job);
    }
  }
  return quiet.calls;
}

beforeEach(() => harness.revive());

describe("a job meets a fault at each of its calls", () => {
  test("a dataset comes to be once, and complete", { timeout: 300_000 }, async () => {
    let versions = 0;
    const calls = await everywhere(
      () =>
        createJob(ownerId, {
          files: ["photos/**"],
          schema: { type: "image", format: "png", labels: "path" },
        }),
      async (job) => {
        versions++;
        expect(job).toMatchObject({
          state: "succeeded",
          done: 400,
          total: 400,
          result: { version: versions },
        });
        const { dataset_id: id } = job.result as { dataset_id: string };
        const dataset = (await findDataset(sql, ownerId, { id }))?.dataset;
        const manifest = Manifest.parse(await bench.read(dataset?.manifestObjectId ?? ""));
        expect(hash(manifest.bytes)).toEqual(dataset?.contentHash);
        expect(manifest.count).toBe(200);
        expect(dataset?.schema.classes).toHaveLength(10);
        expect(await listFiles(sql, id, { from: 0, limit: 1000 })).toHaveLength(200);
        expect(await countOf(sql, "datasets")).toBe(versions);
        expect(await countOf(sql, "dataset_files")).toBe(versions * 200);
        // Of each version its manifest and its page tree, and nothing that a repeated step left behind.
        const live =
          "objects o join buckets b on b.id = o.bucket_id where b.name = '.datasets' and o.state = 'live'";
        expect(await countOf(sql, live)).toBe(versions * 2);
        const unreferenced = `${live} and not exists (select from datasets d where o.id in (d.manifest_object_id, d.tree_object_id))`;
        expect(await countOf(sql, unreferenced)).toBe(0);
      },
    );
    expect(calls).toBeGreaterThan(30);
  });

  test("a job that fails leaves nothing", { timeout: 300_000 }, async () => {
    const before = await countOf(sql, "datasets");
    const files = await countOf(sql, "dataset_files");
    await everywhere(
      () => createJob(ownerId, { name: "broken", files: ["photos/**", "photos/*.jpg"] }),
      async (job) => {
        expect(job).toMatchObject({ state: "failed", error: { code: "invalid_argument" }, result: null });
        expect(await countOf(sql, "datasets")).toBe(before);
        expect(await countOf(sql, "dataset_files")).toBe(files);
      },
    );
  });
});

test("a job that cannot store its manifest fails in the end, and leaves nothing", async () => {
  const before = await countOf(sql, "datasets");
  const newJob = createJob(ownerId, { name: "unstored", files: ["photos/**"] });
  const storage = new MemoryJobStorage();
  const runner = bench.boot(storage, OPTIONS);
  runner.accept(newJob);
  harness.plan = ({ method }) => (method === "put" ? "fail" : undefined);
  const waits: number[] = [];
  for (let next = await runner.advance(); next !== "ended"; next = await runner.advance())
    if (next.again === "later") waits.push(next.ms);
  // It waits longer each time, up to a minute, and gives up after the twentieth try.
  expect(waits.slice(0, 8)).toEqual([500, 1000, 2000, 4000, 8000, 16000, 32000, 60000]);
  expect(waits).toHaveLength(19);
  expect(await findJob(sql, ownerId, newJob.id)).toMatchObject({
    state: "failed",
    error: { code: "unavailable" },
  });
  expect(await countOf(sql, "datasets")).toBe(before);
  expect(await countOf(sql, "datasets where name = 'unstored'")).toBe(0);
  const { dataset_id: id } = newJob.input as { dataset_id: string };
  const uploads = "upload_sessions where state = $1 and key like $2";
  expect(await countOf(sql, uploads, ["aborted", `${id}/%`])).toBe(1);
  expect(await countOf(sql, uploads, ["open", `${id}/%`])).toBe(0);
});

test("a verification meets a crash at each of its calls", { timeout: 300_000 }, async () => {
  const real = await bench.bucket("real");
  for (let i = 0; i < 5; i++) await bench.put(real, `${i}.png`, new Uint8Array(5000).fill(i));
  const made = await bench.run(createJob(ownerId, { name: "real", files: ["real/*"] }));
  const { dataset_id: id } = made.result as { dataset_id: string };
  await everywhere(
    () => verifyJob(ownerId, id, "full"),
    async (job) => {
      expect(job).toMatchObject({
        state: "succeeded",
        result: { manifest_valid: true, all_files_valid: true, files_checked: 5, files_failed: 0 },
      });
    },
  );
});

test("a death between the work of a step and the news of it is survived", async () => {
  const storage = new MortalStorage();
  const newJob = createJob(ownerId, { name: "mortal", files: ["photos/**"] });
  bench.boot(storage, OPTIONS).accept(newJob);
  for (let ended = false, life = 1; !ended; life++) {
    // Every second process dies before anything that it did is remembered.
    storage.dead = life % 2 === 0;
    ended = (await bench.boot(storage, OPTIONS).advance()) === "ended" && !storage.dead;
  }
  expect(await findJob(sql, ownerId, newJob.id)).toMatchObject({ state: "succeeded" });
  expect((storage satisfies JobStorage).get("state")).toBeUndefined();
});

test(
  "any series of faults, while objects come and go, ends with a dataset of objects that were there",
  { timeout: 120_000 },
  async () => {
    const busy = await bench.bucket("busy");
    let runs = 0;
    const faults = fc.array(fc.tuple(fc.integer({ min: 1, max: 20 }), fc.constantFrom(...FAULTS)), {
      maxLength: 6,
    });
    const changes = fc.array(fc.integer({ min: 0, max: 99 }), { minLength: 1, maxLength: 8 });
    await fc.assert(
      fc.asyncProperty(faults, changes, async (series, keys) => {
        const name = `busy-${runs++}`;
        await bench.declare(
          busy,
          Array.from({ length: 50 }, (_, i) => `${name}/${2 * i}.png`),
        );
        const newJob = createJob(ownerId, { name, files: [`busy/${name}/*`] });
        const storage = new MortalStorage();
        const left = [...series];
        let next = harness.calls.length + (left[0]?.[0] ?? 0);
        const plan: FaultPlan = ({ number }) => {
          const [fault] = left;
          if (fault === undefined || number < next) return undefined;
          left.shift();
          next = number + (left[0]?.[0] ?? 0);
          // Calls that were under way when the process died may still be answered: that brings nobody back to life.
          storage.dead ||= fault[1].startsWith("crash");
          return fault[1];
        };
        harness.plan = plan;
        let runner = bench.boot(storage, { filesPerStep: 7 });
        runner.accept(newJob);
        for (let ended = false, steps = 0; !ended; steps++) {
          ended = (await runner.advance()) === "ended" && !storage.dead;
          // Odd keys come, even ones go.
          const key = `${name}/${keys[steps % keys.length]}.png`;
          const gone =
            "update objects set state = 'dropped' where bucket_id = $1 and key = $2 and state = 'live'";
          await sql.query({ text: gone, values: [busy, key] });
          if (steps % 2 === 1) await bench.declare(busy, [key]);
          if (!storage.dead) continue;
          storage.dead = false;
          harness.revive();
          harness.plan = plan;
          runner = bench.boot(storage, { filesPerStep: 7 });
        }
        harness.revive();
        const job = await findJob(sql, ownerId, newJob.id);
        expect(job).toMatchObject({ state: "succeeded" });
        const id = job?.result?.dataset_id as string;
        const dataset = (await findDataset(sql, ownerId, { id }))?.dataset;
        const manifest = Manifest.parse(await bench.read(dataset?.manifestObjectId ?? ""));
        expect(hash(manifest.bytes)).toEqual(dataset?.contentHash);
        expect(manifest.count).toBe(dataset?.fileCount);
        const files = await listFiles(sql, id, { from: 0, limit: 1000 });
        expect(files).toEqual(files.map((_, index) => ({ index, ...manifest.item(index) })));
        expect(dataset?.totalSizeBytes).toBe(10 * files.length);
        const wrong =
          "dataset_files f join objects o on o.id = f.object_id where f.dataset_id = $1 and f.content_hash <> o.content_hash";
        expect(await countOf(sql, wrong, [id])).toBe(0);
      }),
      { numRuns: 30 },
    );
    expect(await countOf(sql, "datasets where state = 'building'")).toBe(0);
  },
);

test("the harness itself kills", async () => {
  harness.plan = () => "crash";
  await expect(harness.wrapSql(sql).query({ text: "select 1", values: [] })).rejects.toBeInstanceOf(
    CrashError,
  );
});
