/**
 * The gateway under eight streams of 4 MiB batches, a ninth whose reader stalls, and an upload, all at once: what its
 * isolate keeps alive (heap, array buffers, and the touched part of the kernels' memory), and what the whole process
 * takes beyond one with an empty Worker, sockets and garbage included. The nodes are HTTP servers of their own, so that
 * what the simulator of R2 holds does not count.
 */
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { type BenchResult, figure } from "../figure.ts";
import { type BenchDataset, type Cluster, startCluster, streamRequest } from "./cluster.ts";
import { freePort } from "../../scripts/stack/ports.ts";
import { type HeapWatch, watchHeap } from "./heap-watch.ts";
import { startLoad } from "./load-client.ts";
import { memoryOf, residentOfMappings } from "./workerd-process.ts";
import { KERNEL_MEMORY_BYTES } from "../../kernels/index.ts";

const NAME = "stream.peak_memory";
const MIB = 1024 * 1024;
const ISOLATE_BYTES = 128 * MIB;
const STREAMS = 8;
const ROUNDS = 3;
const ITEMS = 1024;
const ITEM_BYTES = 128 * 1024;
const BATCH_SIZE = 32;
const UPLOAD_BYTES = 64 * MIB;
const STALL_MS = 500;

export async function measure(): Promise<readonly BenchResult[]> {
  if (process.platform !== "linux") return [{ name: NAME, skipped: "it needs Linux's /proc" }];
  const empty = await emptyWorkerBytes();
  const inspectorPort = await freePort(0, "");
  const cluster = await startCluster("http", { inspectorPort });
  let heap: HeapWatch | undefined;
  try {
    const dataset = await cluster.addDataset("batches", ITEMS, ITEM_BYTES);
    // The uploads above are over and their memory is not: what counts starts from a new process.
    await cluster.stack.gateway.restart();
    await cluster.client.datasets.get(dataset.id);
    const idle = memoryOf(cluster.gatewayPid()).residentBytes;
    heap = await watchHeap(inspectorPort);
    await work(cluster, dataset);
    const pid = cluster.gatewayPid();
    const peak = memoryOf(pid).peakBytes;
    // Memory that was touched once stays, so its end is its peak.
    const kernels = residentOfMappings(pid, KERNEL_MEMORY_BYTES);
    return figuresOf({ empty, idle, peak, heap: heap.peak(), kernels });
  } finally {
    heap?.stop();
    await cluster.stop();
  }
}

interface Bytes {
  readonly empty: number;
  readonly idle: number;
  readonly peak: number;
  /** Live objects and array buffers of the gateway's isolate. */
  readonly heap: number;
  readonly kernels: number;
}

function figuresOf({ empty, idle, peak, heap, kernels }: Bytes): BenchResult[] {
  const mib = (bytes: number): string => (bytes / MIB).toFixed(0);
  return [
    figure({
      name: NAME,
      value: (heap + kernels) / MIB,
      unit: "MiB",
      against: `an isolate's 128 MiB; ${mib(heap)} MiB heap and array buffers, ${mib(kernels)} MiB kernels`,
      ratio: ISOLATE_BYTES / (heap + kernels),
      goal: 1,
    }),
    figure({
      name: `${NAME}.process`,
      value: (peak - empty) / MIB,
      unit: "MiB",
      against: `${mib(peak)} MiB at most, ${mib(idle)} idle, ${mib(empty)} with an empty Worker`,
    }),
  ];
}

async function work(cluster: Cluster, dataset: BenchDataset): Promise<void> {
  const load = startLoad(cluster.stack.gatewayUrl);
  try {
    const request = streamRequest(dataset, { batchSize: BATCH_SIZE });
    load.request({ ...request, stall: true }).catch(() => undefined); // ends with the load
    await delay(STALL_MS);
    const streams = Array.from({ length: STREAMS }, async () => {
      for (let round = 0; round < ROUNDS; round++) await load.request(request);
    });
    const bytes = new Blob(Array.from({ length: UPLOAD_BYTES / MIB }, () => new Uint8Array(MIB)));
    await cluster.client.objects.ensureBucket("uploads");
    await Promise.all([...streams, cluster.client.uploadObject({ bucket: "uploads", key: "object" }, bytes)]);
  } finally {
    await load.stop();
  }
}

/** The process with a Worker that does nothing, after it did some of that. */
async function emptyWorkerBytes(): Promise<number> {
  const entry = fileURLToPath(new URL("empty-worker.ts", import.meta.url));
  const cluster = await startCluster("http", { entry });
  try {
    for (let i = 0; i < STREAMS; i++) await fetch(cluster.stack.gatewayUrl).then((answer) => answer.text());
    return memoryOf(cluster.gatewayPid()).residentBytes;
  } finally {
    await cluster.stop();
  }
}
