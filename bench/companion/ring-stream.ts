/** Streams through a real ring, the real socket and the real Python client; only what fills the slots is the bench's. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { sharedBackend } from "../../companion/device/shared.ts";
import type { Ring } from "../../companion/device/backend.ts";
import { HandoffServer } from "../../companion/handoff/server.ts";
import { HandoffSession, type OpenedStream } from "../../companion/handoff/session.ts";
import { viewOf } from "../../companion/memory/reference.ts";
import { Slots } from "../../companion/memory/slots.ts";
import type { Pipeline, ReadyBatch } from "../../companion/pipeline/pipeline.ts";

const SCRIPT = fileURLToPath(new URL("trainer.py", import.meta.url));
const PACKAGE = fileURLToPath(new URL("../../python", import.meta.url));

export interface RingStream {
  readonly slots: number;
  /** A multiple of 4096; a batch fills it. */
  readonly slotBytes: number;
  readonly batches: number;
  /** Whether a batch waits until the one before was released. */
  readonly oneByOne: boolean;
  /** Writes batch i; its first and last byte must be i modulo 256. */
  readonly fill: (slot: Uint8Array, batch: number) => void;
}

export interface RingBench {
  /** Tensors are numpy's, where it is installed. */
  readonly format: "numpy" | "memoryview";
  /** Seconds from the first batch to the release of the last. */
  stream(options: RingStream): Promise<number>;
  stop(): Promise<void>;
}

/** A sentence with what is missing, when there is no Python. */
export async function startRingBench(): Promise<RingBench | string> {
  const program = process.env["CYXCLOUD_PYTHON"] ?? "python3";
  const imports = async (name: string): Promise<boolean> => {
    const [status] = (await once(
      spawn(program, ["-c", `import ${name}`], { stdio: "ignore" }),
      "close",
    ).catch(() => [1])) as [number];
    return status === 0;
  };
  if (!(await imports("sys"))) return "python3 is not installed";
  const format = (await imports("numpy")) ? "numpy" : "memoryview";
  const env = { ...process.env, PYTHONPATH: PACKAGE, PYTHONDONTWRITEBYTECODE: "1" };
  const python = spawn(program, [SCRIPT], { stdio: ["pipe", "pipe", "inherit"], env });
  const lines = createInterface({ input: python.stdout })[Symbol.asyncIterator]();
  const folder = await mkdtemp(join(tmpdir(), "cyxcloud-ring-bench-"));
  return {
    format,
    async stream(options) {
      const timer = Promise.withResolvers<number>();
      const server = await HandoffServer.listen(join(folder, "socket"), (connection) => {
        const host = { version: "bench", backends: [], open: () => opened(options, timer.resolve), describe };
        return new HandoffSession(connection, host);
      });
      try {
        python.stdin.write(`${JSON.stringify({ socket: server.path, format })}\n`);
        const [seconds, line] = await Promise.all([timer.promise, lines.next()]);
        requireAll(line.value, options);
        return seconds;
      } finally {
        await server.close();
      }
    },
    async stop() {
      const ended = once(python, "exit");
      python.stdin.end();
      await ended;
      await rm(folder, { recursive: true });
    },
  };
}

function requireAll(line: string | undefined, options: RingStream): void {
  let sum = 0;
  for (let batch = 0; batch < options.batches; batch++) sum += 2 * (batch % 256);
  const bytes = options.batches * options.slotBytes;
  const expected = JSON.stringify({ batches: options.batches, bytes, sum });
  const got = line === undefined ? "nothing" : JSON.stringify(JSON.parse(line));
  if (got !== expected) throw new Error(`The trainer saw ${got}, not ${expected}.`);
}

async function opened(options: RingStream, done: (seconds: number) => void): Promise<OpenedStream> {
  const { slots: count, slotBytes } = options;
  const ring = await sharedBackend("shm").createRing({ slots: count, slotBytes });
  const slots = new Slots(count);
  let closing: Promise<void> | undefined;
  const pipeline: Pick<Pipeline, "ring" | "attach" | "batches" | "release" | "close"> = {
    ring,
    attach: () => ring.attached({}),
    batches: () => batches(options, ring, slots, done),
    release: (lease, slot) => slots.release(lease, slot),
    close: () => (closing ??= slots.close().then(() => ring.close())),
  };
  return {
    pipeline: pipeline as Pipeline,
    description: await describe(),
    streamId: "bench",
    backend: "shm",
    consumer: { worked: () => undefined, dataReady: () => undefined, holds: () => undefined },
    failed: (error) => {
      throw error;
    },
    closed: () => undefined,
  };
}

async function* batches(
  options: RingStream,
  ring: Ring,
  slots: Slots,
  done: (seconds: number) => void,
): AsyncGenerator<ReadyBatch, void, undefined> {
  const { slotBytes } = options;
  const memory = viewOf(ring.memory);
  const begun = performance.now();
  for (let index = 0; index < options.batches; index++) {
    const lease = await slots.acquire();
    options.fill(memory.subarray(lease.index * slotBytes, (lease.index + 1) * slotBytes), index);
    if (options.oneByOne) await allFree(slots, 1);
    await ring.publish(lease.index, slotBytes);
    lease.ready();
    lease.handOver();
    yield readyBatch(lease, index, options);
  }
  await allFree(slots, 0);
  done((performance.now() - begun) / 1000);
}

/** Until nothing is with the trainer, `own` slots being the caller's. */
async function allFree(slots: Slots, own: number): Promise<void> {
  const leases = await Promise.all(Array.from({ length: slots.count - own }, () => slots.acquire()));
  for (const lease of leases) lease.release();
}

function readyBatch(
  lease: ReadyBatch["lease"],
  index: number,
  { slotBytes, batches: all }: RingStream,
): ReadyBatch {
  const position = { epoch: 0, start_index: 0, batch_index: index + 1, world_size: 1, batch_size: 1 };
  return {
    lease,
    tensors: [{ name: "data", dtype: "uint8", shape: [slotBytes], offset: 0 }],
    batch: {
      index,
      epoch: 0,
      totalBatches: all,
      isLast: index + 1 === all,
      indices: [index],
      paddedItems: 0,
      position,
      paths: [],
    } as unknown as ReadyBatch["batch"],
    bytes: slotBytes,
    errors: [],
    acknowledge: () => undefined,
  };
}

function describe(): Promise<OpenedStream["description"]> {
  return Promise.resolve({
    dataset: {
      id: "bench",
      name: "bench",
      version: 1,
      content_hash: "00",
      schema: {},
      schema_hash: "00",
      count: 1,
      total_bytes: 1,
      pinned: false,
      trust_level: 0,
    } as unknown as OpenedStream["description"]["dataset"],
    count: 1,
    total_batches: 1,
    batches_per_epoch: 1,
    format: { kind: "tensor", dtype: "uint8", shape: [1], layout: "N…" },
  });
}
