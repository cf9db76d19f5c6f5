/**
 * `node scripts/gpu-check.ts [--slot-mib 64] [--slots 4] [--gib 16] [--python python3]`: on a machine with a GPU, sends
 * every byte of random batches through each backend and compares them, measures the copies to the device beside plain
 * copies from page-locked memory, and prints a table for docs/gpu.md. Ends with 1 when a byte was wrong.
 *
 * Needs Node 24 with koffi and pretty-bytes, and any Python from 3.9 on; torch is used where it is installed.
 */
import { type ChildProcessByStdio, spawn } from "node:child_process";
import { createHash, randomFillSync } from "node:crypto";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { Readable, Writable } from "node:stream";
import { parseArgs } from "node:util";
import type { BackendName, ConsumerDevice, Ring } from "../companion/device/backend.ts";
import { Backends } from "../companion/device/backends.ts";
import { viewOf } from "../companion/memory/reference.ts";

const MIB = 1024 * 1024;
const CHECKED: readonly BackendName[] = ["cuda-ipc", "cuda-hostreg", "shm"];
const DIGEST_ROUNDS = 4;
const SPEED_ROUNDS = 5;
const GOAL = 0.9;

const { values } = parseArgs({
  options: {
    "slot-mib": { type: "string", default: "64" },
    slots: { type: "string", default: "4" },
    gib: { type: "string", default: "16" },
    python: { type: "string", default: process.env["CYXCLOUD_PYTHON"] ?? "python3" },
  },
});
const slotBytes = Number(values["slot-mib"]) * MIB;
const slots = Number(values.slots);
const copies = Math.max(slots, Math.round((Number(values.gib) * 1024 * MIB) / slotBytes / SPEED_ROUNDS));

interface About {
  readonly name: string;
  readonly cuda: number;
  readonly torch: string | null;
}

/** scripts/gpu_check.py, as a process of its own. */
class Trainer {
  readonly #child: ChildProcessByStdio<Writable, Readable, null>;
  readonly #lines: AsyncIterator<string>;

  constructor(python: string) {
    const env = { ...process.env, PYTHONPATH: join(import.meta.dirname, "..", "python") };
    const script = join(import.meta.dirname, "gpu_check.py");
    this.#child = spawn(python, [script], { stdio: ["pipe", "pipe", "inherit"], env });
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
  }

  async call<T>(name: string, parameters: Readonly<Record<string, unknown>> = {}): Promise<T> {
    this.#child.stdin.write(`${JSON.stringify({ call: name, ...parameters })}\n`);
    const line = await this.#lines.next();
    if (line.done === true) throw new Error("The Python side ended: see its output above.");
    const answer = JSON.parse(line.value) as { result?: T; error?: string };
    if (answer.error !== undefined) throw new Error(answer.error);
    return answer.result as T;
  }

  async end(): Promise<void> {
    const ended = once(this.#child, "exit");
    this.#child.stdin.end();
    await ended;
  }
}

interface Row {
  readonly backend: string;
  readonly bytes: string;
  readonly speed: string;
  readonly pinned: string;
  readonly ratio: string;
  readonly latency: string;
}

const backends = await Backends.open(process.env);
for (const { name, available, reason } of backends.probed)
  console.log(`${name}: ${available ? "" : "not available, "}${reason}`);
const trainer = new Trainer(values.python);
const device = await trainer.call<ConsumerDevice | null>("detect");
if (device === null) {
  console.log("\nThis machine has no CUDA driver or no device: there is nothing to check.");
  process.exitCode = 2;
} else {
  const about = await trainer.call<About>("about");
  let wrong = 0;
  const rows: Row[] = [];
  for (const name of CHECKED) {
    const { row, wrongBatches } = await check(name, device, about);
    rows.push(row);
    wrong += wrongBatches;
  }
  print(about, rows);
  process.exitCode = wrong === 0 ? 0 : 1;
}
await trainer.end();
await backends.close();

async function check(
  name: BackendName,
  found: ConsumerDevice,
  about: About,
): Promise<{ row: Row; wrongBatches: number }> {
  const none = { backend: name, bytes: "–", speed: "–", pinned: "–", ratio: "–", latency: "–" };
  // The allocation behind the probe of the first detection is gone once a ring is attached.
  const consumer = (await trainer.call<ConsumerDevice | null>("detect")) ?? found;
  let ring: Ring;
  try {
    const { backend } = await backends.choose(name, consumer);
    ring = await backend.createRing({ slots, slotBytes }, consumer);
  } catch (error) {
    return { row: { ...none, bytes: (error as Error).message }, wrongBatches: 0 };
  }
  const { path, size } = ring.attachment as { path: string; size: number };
  const answer = await trainer.call<{ handles: string[]; pinned: boolean | null }>("attach", {
    path,
    size,
    slots,
    slot_bytes: slotBytes,
    backend: name,
  });
  await ring.attached(answer);
  const { wrongBatches, batches } = await compareBytes(ring, about);
  const bytes = wrongBatches === 0 ? `right (${batches} batches)` : `WRONG in ${wrongBatches} of ${batches}`;
  const row =
    name === "shm"
      ? { ...none, bytes }
      : {
          ...none,
          ...(await speeds(name, ring)),
          bytes: answer.pinned === false ? `${bytes}, unpinned` : bytes,
        };
  // In this order: handles are closed before the memory behind them is freed.
  await ring.close();
  await trainer.call("close");
  return { row, wrongBatches };
}

/** Each slot is filled again as soon as it was read, and differs in every byte from what was there before. */
async function compareBytes(ring: Ring, about: About): Promise<{ wrongBatches: number; batches: number }> {
  let wrongBatches = 0;
  let batches = 0;
  for (const torch of about.torch === null ? [false] : [false, true]) {
    for (let batch = 0; batch < DIGEST_ROUNDS * slots; batch++, batches++) {
      const slot = batch % slots;
      // A length that ends inside a page, so that an error at the end shows.
      const length = slotBytes - (batch % 3) * 1001;
      const bytes = viewOf(ring.memory).subarray(slot * slotBytes, slot * slotBytes + length);
      randomFillSync(bytes);
      const expected = createHash("sha256").update(bytes).digest("hex");
      await ring.publish(slot, length);
      if ((await trainer.call("digest", { slot, length, torch })) !== expected) wrongBatches++;
    }
  }
  return { wrongBatches, batches };
}

async function speeds(
  name: BackendName,
  ring: Ring,
): Promise<Pick<Row, "speed" | "pinned" | "ratio" | "latency">> {
  const measured = { length: slotBytes, copies, slots };
  const rounds: { readonly own: number; readonly pinned: number }[] = [];
  for (let round = -1; round < SPEED_ROUNDS; round++) {
    const own =
      name === "cuda-ipc" ? await publishSpeed(ring) : await trainer.call<number>("copy_speed", measured);
    const pinned = await trainer.call<number>("pinned_speed", measured);
    if (round >= 0) rounds.push({ own, pinned });
  }
  const ratio = median(rounds.map(({ own, pinned }) => own / pinned));
  return {
    speed: (median(rounds.map(({ own }) => own)) / 1e9).toFixed(1),
    pinned: (median(rounds.map(({ pinned }) => pinned)) / 1e9).toFixed(1),
    ratio: `${ratio.toFixed(2)} (goal ${GOAL}: ${ratio >= GOAL ? "met" : "MISSED"})`,
    latency: name === "cuda-ipc" ? `${(await publishLatency(ring)).toFixed(0)} µs` : "–",
  };
}

/** Bytes a second of our copies into the trainer's memory, every slot in flight. */
async function publishSpeed(ring: Ring): Promise<number> {
  const flying: Promise<void>[] = [];
  const begun = performance.now();
  for (let i = 0; i < copies; i++) {
    await flying[i % slots];
    flying[i % slots] = ring.publish(i % slots, slotBytes);
  }
  await Promise.all(flying);
  return (copies * slotBytes) / ((performance.now() - begun) / 1000);
}

/** Microseconds until a batch of one page may be announced. */
async function publishLatency(ring: Ring): Promise<number> {
  const times: number[] = [];
  for (let i = 0; i < 200; i++) {
    const begun = performance.now();
    await ring.publish(0, 4096);
    times.push((performance.now() - begun) * 1000);
  }
  return median(times);
}

function print({ name, cuda, torch }: About, rows: readonly Row[]): void {
  const version = `${Math.floor(cuda / 1000)}.${Math.floor((cuda % 1000) / 10)}`;
  const date = new Date().toISOString().slice(0, 10);
  const framework = torch === null ? "without torch" : `torch ${torch}`;
  console.log(
    `\n${date}, ${name}, CUDA ${version}, ${framework}, ${slots} slots of ${slotBytes / MIB} MiB:\n`,
  );
  console.log("| backend | bytes | GB/s | pinned copy, GB/s | ratio | until a page is announced |");
  console.log("|---|---|---|---|---|---|");
  for (const row of rows)
    console.log(
      `| \`${row.backend}\` | ${row.bytes} | ${row.speed} | ${row.pinned} | ${row.ratio} | ${row.latency} |`,
    );
}

function median(numbers: readonly number[]): number {
  return numbers.toSorted((a, b) => a - b)[numbers.length >> 1] as number;
}
