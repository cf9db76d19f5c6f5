import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type BatchJob } from "../../companion/workers/job.ts";
import { WorkerPool } from "../../companion/workers/pool.ts";
import { concatBytes } from "../../core/bytes.ts";
import { parseProcessing } from "../../core/augment/processing.ts";
import { parseSchema } from "../../core/dataset/schema.ts";
import { loadKernels } from "../../kernels/index.ts";
import { type BenchResult, figure } from "../figure.ts";
import { photographs } from "./photographs.ts";
import { startPython, type Work } from "./python-decoder.ts";

const FILES = 128;
const BATCH = 64;
const SEED = 20_261;
const ROUNDS = 6;
const SECONDS_PER_ROUND = 2;
/** As many for Python as take it about as long. */
const PYTHON_IMAGES: Readonly<Record<Work, number>> = { decode: 6_400, resize: 1_280, augment: 1_024 };
const GOAL = 2;

const TRAINING = [
  { op: "random_resized_crop", size: 224 },
  { op: "random_horizontal_flip" },
  { op: "normalize", mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] },
  { op: "layout", order: "NCHW" },
];

interface Case {
  readonly name: string;
  readonly width: number;
  readonly height: number;
  readonly work: Work;
  readonly steps?: readonly unknown[];
}

const CASES: readonly Case[] = [
  { name: "companion.decode", width: 224, height: 224, work: "decode" },
  {
    name: "companion.decode_resize",
    width: 500,
    height: 375,
    work: "resize",
    steps: [{ op: "resize", size: [224, 224] }],
  },
  { name: "companion.decode_augment", width: 500, height: 375, work: "augment", steps: TRAINING },
];

/**
 * Images in a second of one core's time, from received bytes to a tensor in its slot, against Python that does the same
 * without verifying: PIL in torch's DataLoader with one worker process, as one decodes beside training, and `_inline`
 * in the process that takes the batches, which then trains not. CPU time of all threads and processes counts, so other
 * load matters little. `companion.decode`: JPEGs of 224×224 as they are; `_resize`: 500×375 to 224×224 with antialias;
 * `_augment`: 500×375 with random resized crop, flip, normalisation, float32, channels first. The images are
 * generated: `photographs`.
 */
export async function measure(): Promise<readonly BenchResult[]> {
  const python = await startPython();
  const folder = await mkdtemp(join(tmpdir(), "decode-bench-"));
  const pool = new WorkerPool(1);
  try {
    const results: BenchResult[] = [];
    for (const each of CASES) {
      const files = photographs(FILES, each.width, each.height, SEED);
      const task = {
        file: join(folder, each.name),
        lengths: files.map(({ length }) => length),
        batch: BATCH,
      };
      await writeFile(task.file, concatBytes(files));
      const jobs = await jobsOf(pool, files, each);
      const modes = typeof python === "string" ? [] : python.hasWorkers ? [1, 0] : [0];
      const theirs = modes.map(() => 0);
      let ours = 0;
      for (let round = 0; round < ROUNDS; round++) {
        ours = Math.max(ours, await imagesPerSecond(pool, jobs));
        if (typeof python === "string") continue;
        for (const [i, workers] of modes.entries()) {
          const images = PYTHON_IMAGES[each.work];
          const speed = await python.imagesPerSecond({ ...task, work: each.work, images, workers });
          theirs[i] = Math.max(theirs[i] as number, speed);
        }
      }
      const bytes = task.lengths.reduce((sum, length) => sum + length, 0) / FILES;
      const measured = {
        value: ours,
        unit: "images/s per core",
        cpu_seconds_per_gb: 1e9 / (ours * bytes),
      };
      if (typeof python === "string") {
        results.push(figure({ name: each.name, ...measured }), {
          name: `${each.name}_inline`,
          skipped: python,
        });
        continue;
      }
      for (const [i, workers] of modes.entries()) {
        const speed = theirs[i] as number;
        results.push(
          figure({
            name: workers === 1 ? each.name : `${each.name}_inline`,
            ...measured,
            against: `${python.name}${workers === 1 ? ", one worker" : ""}: ${Math.round(speed)} images/s`,
            ratio: ours / speed,
            goal: workers === 1 ? GOAL : null,
          }),
        );
      }
    }
    return results;
  } finally {
    await pool.close();
    if (typeof python !== "string") await python.stop();
    await rm(folder, { recursive: true });
  }
}

/** Batches of all files, each into a slot of its own. */
async function jobsOf(pool: WorkerPool, files: readonly Uint8Array[], { steps }: Case): Promise<BatchJob[]> {
  const { blake3 } = await loadKernels({ heapBytes: 1 << 20 });
  const processing = steps === undefined ? undefined : parseProcessing({ version: 1, steps });
  const schema = parseSchema({ type: "image", format: "jpg" });
  const format = await pool.probe(files[0] as Uint8Array, "0.jpg", schema, processing);
  const slotBytes = BATCH * format.itemBytes;
  const buffer = new SharedArrayBuffer((files.length / BATCH) * slotBytes);
  const ring = { kind: "shared", buffer, byteOffset: 0, byteLength: buffer.byteLength } as const;
  return Array.from({ length: files.length / BATCH }, (_, number) => {
    const batch = files.slice(number * BATCH, (number + 1) * BATCH);
    const input = new SharedArrayBuffer(batch.reduce((sum, { length }) => sum + length, 0));
    let end = 0;
    const items = batch.map((bytes, i) => {
      const offset = end;
      new Uint8Array(input).set(bytes, offset);
      end += bytes.length;
      const itemIndex = number * BATCH + i;
      return {
        offset,
        length: bytes.length,
        hash: blake3.hash(bytes),
        itemIndex,
        path: `photographs/${itemIndex}.jpg`,
      };
    });
    const output = { ...ring, byteOffset: number * slotBytes, byteLength: slotBytes };
    return { input, items, output, ring, format, processing, seed: 1n, epoch: 0 };
  });
}

/** Several batches are in flight, as in a stream. */
async function imagesPerSecond(pool: WorkerPool, jobs: readonly BatchJob[]): Promise<number> {
  const begun = performance.now();
  const before = process.cpuUsage();
  let images = 0;
  for (let epoch = 0; performance.now() - begun < SECONDS_PER_ROUND * 1000; epoch++) {
    const results = await Promise.all(jobs.map((job) => pool.run({ ...job, epoch })));
    const bad = results.flat().find(({ ok }) => !ok);
    if (bad !== undefined) throw new Error(JSON.stringify(bad));
    images += results.flat().length;
  }
  const { user, system } = process.cpuUsage(before);
  return images / ((user + system) / 1e6);
}
