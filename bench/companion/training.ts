import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { DataStreamClient } from "../../client/client.ts";
import type { UploadFile } from "../../client/uploads.ts";
import { startStack } from "../../scripts/stack/index.ts";
import { type BenchResult, figure } from "../figure.ts";
import { startCompanionProcess } from "./companion-process.ts";
import { photographs } from "./photographs.ts";
import { pythonWith } from "./python.ts";

const SCRIPT = fileURLToPath(new URL("training.py", import.meta.url));
const PACKAGE = fileURLToPath(new URL("../../python", import.meta.url));
const NAME = "photographs";
const ITEMS = 2_048;
const CLASSES = 16;
const SIDE = 224;
/** The others differ from these in a comment alone: making them takes longer than decoding them. */
const DIFFERENT = 256;
const SEED = 20_261;
const BATCH = 32;
const STEP_SECONDS = 0.025;
const EPOCHS = 10;
const EPOCHS_WITHOUT_STEPS = 20;
const CACHE_BYTES = 1e9;
const MOST_WAITING_PERCENT = 1;
const QUANTILES = [0.5, 0.95, 0.99] as const;

interface Order {
  readonly step?: number;
  readonly busy?: boolean;
  readonly epochs: number;
  /** Whether the companion has a cache, which the first epoch then fills, and is not counted for. */
  readonly cached?: boolean;
}

/** What the trainer saw, and what the companion told of it meanwhile. */
interface Run {
  /** Of each batch that counts, from asking for it to its tensor, ascending. */
  readonly waits: readonly number[];
  /** From the last batch that does not count to the end of the last step. */
  readonly seconds: number;
  /** Time without a batch by time with and without, of the same part of the run. */
  readonly toldShare: number;
  readonly toldQuantiles: readonly number[];
}

/**
 * Training through everything that users run: a local gateway with six nodes, a companion and a Python program, each a
 * process of its own, on 2,048 JPEGs of 224×224 in 16 classes, shuffled, in batches of 32.
 *
 * `companion.training`: the share of time that a trainer of 25 ms steps waits for data, of 640 steps over ten epochs,
 * without the first batch, which the opening of the stream is part of. Its steps sleep, as a program does whose device works.
 * `.p50`, `.p95`, `.p99`: from asking for a batch to its tensor and labels. `.busy`: with steps that take a processor, which
 * is then not there to decode. `.cached`: from the second epoch on, with a cache that holds all of it, so that the gateway's
 * own work, which is elsewhere in earnest, takes no processor here. `.throughput`: items in a second when the trainer takes
 * batches as fast as they come.
 */
export async function measure(): Promise<readonly BenchResult[]> {
  const python =
    (await pythonWith("import torch, numpy")) ??
    (await pythonWith("import numpy")) ??
    (await pythonWith("import sys"));
  if (python === undefined) return [{ name: "companion.training", skipped: "python3 is not installed" }];
  const stack = await startStack({ onLog: () => undefined });
  try {
    const client = new DataStreamClient({ gateway: stack.gatewayUrl, apiKey: stack.apiKey });
    const token = await addPhotographs(client);
    const trainer = await startTrainer(python);
    try {
      const run = (order: Order): Promise<Run> => train(trainer, stack.gatewayUrl, token, order);
      const steps = { step: STEP_SECONDS, epochs: EPOCHS };
      const fast = await run({ epochs: EPOCHS_WITHOUT_STEPS });
      const throughput = figure({
        name: "companion.training.throughput",
        value: (fast.waits.length * BATCH) / fast.seconds,
        unit: `items/s to tensors of ${trainer.framework}`,
      });
      const slept = await run(steps);
      return [
        waitingFigure("companion.training", slept, MOST_WAITING_PERCENT),
        ...quantileFigures("companion.training", slept),
        waitingFigure("companion.training.busy", await run({ ...steps, busy: true })),
        waitingFigure("companion.training.cached", await run({ ...steps, cached: true, epochs: EPOCHS + 1 })),
        throughput,
      ];
    } finally {
      await trainer.stop();
    }
  } finally {
    await stack.stop();
  }
}

/** @param goal most percent of waiting. */
function waitingFigure(name: string, run: Run, goal?: number): BenchResult {
  const share = (100 * sum(run.waits)) / run.seconds;
  const told = `/metrics of the companion: ${(100 * run.toldShare).toPrecision(2)} %`;
  return figure({
    name,
    value: share,
    unit: "% of the time waited",
    against: goal === undefined ? told : `${goal} % at most; ${told}`,
    ...(goal !== undefined && { ratio: goal / share, goal: 1 }),
  });
}

function quantileFigures(name: string, run: Run): BenchResult[] {
  return QUANTILES.map((part, i) =>
    figure({
      name: `${name}.p${100 * part}`,
      value: 1000 * (run.waits[Math.ceil(part * run.waits.length) - 1] as number),
      unit: "ms",
      against: `/metrics of the companion: ${(1000 * (run.toldQuantiles[i] as number)).toPrecision(2)} ms`,
    }),
  );
}

/** With a companion of its own, whose metrics are then of this run alone. */
async function train(trainer: Trainer, gateway: string, token: string, order: Order): Promise<Run> {
  const { step = 0, busy = false, cached = false, epochs } = order;
  const companion = await startCompanionProcess(gateway, cached ? CACHE_BYTES : 0);
  try {
    const { address } = companion;
    const uncounted = cached ? ITEMS / BATCH : 1;
    const work = { step, busy, epochs, batch: BATCH, uncounted };
    trainer.send({ ...work, address, gateway, token, dataset: NAME });
    await trainer.answer("begun");
    const before = await companion.metrics();
    const seen = await trainer.answer("waits");
    const after = await companion.metrics();
    const expected = { items: ITEMS * epochs, labels: (ITEMS * epochs * (CLASSES - 1)) / 2 };
    const { waits, seconds, ...counted } = seen as unknown as Seen;
    if (JSON.stringify(counted) !== JSON.stringify(expected))
      throw new Error(`The trainer saw ${JSON.stringify(counted)}, not ${JSON.stringify(expected)}.`);
    const grown = (name: string): number => (after.get(name) ?? 0) - (before.get(name) ?? 0);
    const waited = grown(`consumer_wait_seconds_total{rank="0"}`);
    const worked = grown(`consumer_work_seconds_total{rank="0"}`);
    return {
      waits: waits.toSorted((a, b) => a - b),
      seconds,
      toldShare: waited / (waited + worked),
      toldQuantiles: QUANTILES.map(
        (part) => after.get(`data_ready_quantile_seconds{rank="0",quantile="${part}"}`) ?? Number.NaN,
      ),
    };
  } finally {
    await companion.stop();
  }
}

/** Makes the dataset; returns a token for it. */
async function addPhotographs(client: DataStreamClient): Promise<string> {
  await client.objects.ensureBucket(NAME);
  await client.uploadFolder(
    { bucket: NAME, prefix: "" },
    commented(photographs(DIFFERENT, SIDE, SIDE, SEED)),
  );
  const schema = { type: "image", format: "jpg", labels: "path" };
  const { id } = await client.datasets.create({ name: NAME, files: [`${NAME}/**/*.jpg`], schema });
  return (await client.datasets.createToken(id)).token;
}

/** Different files of the images, in as many folders as there are classes. */
async function* commented(images: readonly Uint8Array[]): AsyncGenerator<UploadFile> {
  for (let i = 0; i < ITEMS; i++) {
    const image = images[i % images.length] as Uint8Array<ArrayBuffer>;
    // Behind the marker that begins a JPEG: the marker of a comment, its length with itself, and a number.
    const comment = Uint8Array.of(0xff, 0xfe, 0, 4, i >> 8, i & 255);
    const name = `${String(i % CLASSES).padStart(2, "0")}/${String(i).padStart(5, "0")}.jpg`;
    yield { path: name, blob: new Blob([image.subarray(0, 2), comment, image.subarray(2)]) };
  }
}

interface Seen {
  readonly waits: readonly number[];
  readonly seconds: number;
  readonly items: number;
  readonly labels: number;
}

type Answer = Readonly<Record<string, unknown>>;

/** training.py as a process. */
interface Trainer {
  readonly framework: string;
  send(order: object): void;
  /** The next answer, which must have such a member. */
  answer(member: string): Promise<Answer>;
  stop(): Promise<void>;
}

async function startTrainer(python: string): Promise<Trainer> {
  const env = { ...process.env, PYTHONPATH: PACKAGE, PYTHONDONTWRITEBYTECODE: "1" };
  const child = spawn(python, [SCRIPT], { stdio: ["pipe", "pipe", "inherit"], env });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const answer = async (member: string): Promise<Answer> => {
    const { value, done } = await lines.next();
    if (done === true) throw new Error("The trainer ended: see above.");
    const parsed = JSON.parse(value) as Answer;
    if (!(member in parsed)) throw new Error(`The trainer answered ${value} where ${member} was to come.`);
    return parsed;
  };
  return {
    framework: String((await answer("framework"))["framework"]),
    send: (order) => void child.stdin.write(`${JSON.stringify(order)}\n`),
    answer,
    async stop() {
      const ended = once(child, "exit");
      child.stdin.end();
      await ended;
    },
  };
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
