import { afterEach, describe, expect, test } from "vitest";
import { itemDecoder } from "../../../companion/decode/item-decoder.ts";
import { WorkerPool } from "../../../companion/workers/pool.ts";
import { dataOf, imageItems, kernels, makeJob, marginsUntouched, type TestJob } from "./jobs.ts";

const PNG = { type: "image", format: "png" };
const AUGMENTED = {
  version: 1,
  steps: [
    { op: "random_resized_crop", size: 8 },
    { op: "random_horizontal_flip" },
    { op: "normalize", mean: [0.5, 0.4, 0.3], std: [0.2, 0.3, 0.4] },
    { op: "cast", dtype: "float16" },
    { op: "layout", order: "NCHW" },
  ],
};
const CRASHING = new URL("./crashing.worker.ts", import.meta.url);

let pool: WorkerPool;
afterEach(() => pool.close());

/** What one decoder makes of the items, one after the other, on this thread. */
function alone(job: TestJob): Uint8Array {
  const decoder = itemDecoder(job.format, job.processing, kernels);
  const { itemBytes } = job.format;
  const data = new Uint8Array(job.items.length * itemBytes);
  for (const [i, { offset, length, itemIndex, path }] of job.items.entries()) {
    const bytes = new Uint8Array(job.input, offset, length);
    const { seed, epoch } = job;
    decoder.decode(
      { path, bytes },
      { seed, epoch, itemIndex },
      data.subarray(i * itemBytes, (i + 1) * itemBytes),
    );
  }
  decoder.dispose();
  return data;
}

describe("a batch is what one decoder makes of it", () => {
  test.each([1, 2, 3, 8])("on %s threads, several batches at once", async (threads) => {
    pool = new WorkerPool(threads);
    const jobs = [
      makeJob(imageItems(40), PNG, AUGMENTED),
      makeJob(imageItems(1), PNG),
      makeJob(imageItems(300), PNG, AUGMENTED, { epoch: 3 }),
      makeJob(imageItems(25), PNG, undefined, { seed: -1n }),
    ];
    const results = await Promise.all(jobs.map((job) => pool.run(job)));
    for (const [i, job] of jobs.entries()) {
      expect(results[i]).toEqual(job.items.map(() => ({ ok: true })));
      expect(dataOf(job)).toEqual(alone(job));
      expect(marginsUntouched(job)).toBe(true);
    }
  });

  test("however the items are batched", async () => {
    pool = new WorkerPool(2);
    const whole = makeJob(imageItems(30), PNG, AUGMENTED);
    const parts = [whole.items.slice(0, 7), whole.items.slice(7, 8), whole.items.slice(8)].map((items) => ({
      ...makeJob(imageItems(items.length), PNG, AUGMENTED),
      input: whole.input,
      items,
    }));
    await Promise.all([whole, ...parts].map((job) => pool.run(job)));
    expect(Buffer.concat(parts.map(dataOf))).toEqual(Buffer.from(dataOf(whole)));
  });

  test("items that stay bytes lie one after the other", async () => {
    pool = new WorkerPool(3);
    const items = Array.from({ length: 50 }, (_, i) => ({
      path: `${i}.txt`,
      bytes: Uint8Array.from({ length: (i * 9001) % 40_000 }, (__, j) => i + j),
    }));
    const job = makeJob(items, { type: "text", format: "txt" });
    expect((await pool.run(job)).every(({ ok }) => ok)).toBe(true);
    expect(Buffer.from(dataOf(job))).toEqual(Buffer.concat(items.map(({ bytes }) => bytes)));
    expect(marginsUntouched(job)).toBe(true);
  });

  test("a batch without items, and one without bytes", async () => {
    pool = new WorkerPool(2);
    const empty = makeJob(imageItems(1), PNG);
    expect(await pool.run({ ...empty, items: [] })).toEqual([]);
    const nothing = [0, 1, 2].map((i) => ({ path: `${i}`, bytes: new Uint8Array() }));
    expect(await pool.run(makeJob(nothing, { type: "bytes", format: "bin" }))).toHaveLength(3);
  });
});

describe("items that are wrong", () => {
  test("fail alone: by their hash, or because they do not decode", async () => {
    pool = new WorkerPool(2);
    const items = imageItems(20).map((item, i) =>
      i === 4 ? { ...item, bytes: Uint8Array.of(1, 2, 3) } : item,
    );
    const job = makeJob(items, PNG);
    new Uint8Array(job.input)[(job.items[11]?.offset ?? 0) + 60]! ^= 1;
    const results = await pool.run(job);
    expect(results.flatMap(({ ok }, i) => (ok ? [] : [i]))).toEqual([4, 11]);
    expect(results[4]).toEqual({ ok: false, reason: "decode", message: "is no PNG image." });
    expect(results[11]).toMatchObject({ ok: false, reason: "hash" });
    const good = alone({ ...job, items: job.items.filter((_, i) => i !== 4 && i !== 11) });
    const { itemBytes } = job.format;
    const data = dataOf(job);
    const kept = [...Array(20).keys()].filter((i) => i !== 4 && i !== 11);
    for (const [n, i] of kept.entries())
      expect(data.subarray(i * itemBytes, (i + 1) * itemBytes)).toEqual(
        good.subarray(n * itemBytes, (n + 1) * itemBytes),
      );
  });

  test("large items are hashed as well, and none without a hash", async () => {
    pool = new WorkerPool(2);
    const items = [3_000_000, 10, 1_048_576, 1_048_577, 1_000_000, 0].map((length, i) => ({
      path: `${i}`,
      bytes: new Uint8Array(length).fill(i + 1),
    }));
    const job = makeJob(items, { type: "bytes", format: "bin" });
    expect((await pool.run(job)).every(({ ok }) => ok)).toBe(true);
    const changed = job.items.map((item) => ({
      ...item,
      hash: item.hash?.map((byte, i) => byte ^ Number(i === 31)),
    }));
    expect((await pool.run({ ...job, items: changed })).some(({ ok }) => ok)).toBe(false);
    const unchecked = job.items.map((item) => ({ ...item, hash: undefined }));
    expect((await pool.run({ ...job, items: unchecked })).every(({ ok }) => ok)).toBe(true);
  });

  test("a job that reaches outside of its memory is refused whole", async () => {
    pool = new WorkerPool(1);
    const job = makeJob(imageItems(3), PNG);
    const { output } = job;
    const outside = job.items.map((item) => ({ ...item, offset: job.input.byteLength - 2 }));
    await expect(pool.run({ ...job, items: outside })).rejects.toMatchObject({ code: "internal" });
    const small = { ...output, byteLength: output.byteLength - 1 };
    await expect(pool.run({ ...job, output: small })).rejects.toMatchObject({ code: "internal" });
    expect(dataOf(job).every((byte) => byte === 0xee)).toBe(true);
  });
});

describe("threads that end", () => {
  const withName = (name: string): TestJob =>
    makeJob([...imageItems(5), { ...(imageItems(1)[0] as { bytes: Uint8Array }), path: name }], PNG);

  test.each(["exit", "throw"])("fail what they had (%s), and others take their places", async (how) => {
    pool = new WorkerPool(2, { file: CRASHING });
    const error = await pool.run(withName(`folder/${how}`)).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({
      code: "internal",
      message: expect.stringMatching(
        how === "throw" ? /deliberate.*folder\/0\.png/ : /exited.*folder\/0\.png/,
      ) as string,
    });
    for (let round = 0; round < 3; round++) {
      const job = makeJob(imageItems(100), PNG, AUGMENTED);
      const outcomes = await Promise.allSettled([pool.run(withName(how)), pool.run(job)]);
      expect(outcomes[0].status).toBe("rejected");
    }
    const job = makeJob(imageItems(100), PNG, AUGMENTED);
    await pool.run(job);
    expect(dataOf(job)).toEqual(alone(job));
  });

  test("a file that is not there fails every job, and nothing hangs", async () => {
    pool = new WorkerPool(2, { file: new URL("./nowhere.ts", import.meta.url) });
    for (let round = 0; round < 2; round++)
      await expect(pool.run(makeJob(imageItems(30), PNG))).rejects.toMatchObject({ code: "internal" });
  });

  test("closing cancels what runs and what waits, and no thread writes afterwards", async () => {
    pool = new WorkerPool(2);
    await pool.run(makeJob(imageItems(1), PNG));
    const jobs = Array.from({ length: 20 }, () => makeJob(imageItems(200), PNG, AUGMENTED));
    const outcomes = Promise.allSettled(jobs.map((job) => pool.run(job)));
    await pool.close();
    const after = jobs.map(dataOf);
    const canceled = (await outcomes).filter(({ status }) => status === "rejected");
    expect(canceled.length).toBeGreaterThan(0);
    for (const outcome of canceled) expect(outcome).toMatchObject({ reason: { code: "canceled" } });
    expect(jobs.map(dataOf)).toEqual(after);
    await expect(pool.run(jobs[0] as TestJob)).rejects.toMatchObject({ code: "canceled" });
    await pool.close();
  });
});

test("a number of threads that cannot be is refused", () => {
  pool = new WorkerPool(1);
  for (const threads of [0, 1.5, -1, 257, Number.NaN])
    expect(() => new WorkerPool(threads)).toThrow(/threads: must be 1 to 256/);
});
