import { type BenchResult, figure } from "../figure.ts";
import { type Isal, startIsal } from "./isal.ts";
import {
  best,
  type KernelBench,
  megabytes,
  RUNS,
  type Speed,
  startKernelBench,
  type Work,
} from "./measure.ts";

export interface Comparison {
  readonly name: string;
  readonly work: Work;
  /** As `Isal.bytesPerSecond` takes it. */
  readonly lost: 0 | 1 | 2;
  /** Data of one stripe. */
  readonly bytes: number;
  readonly goal: number | null;
}

/** Each kernel and ISA-L in turns, buffers in place on both sides; speeds count the bytes of data. */
export async function compareWithIsal(comparisons: readonly Comparison[]): Promise<readonly BenchResult[]> {
  const isal = await startIsal();
  if (typeof isal === "string") return comparisons.map(({ name }) => ({ name, skipped: isal }));
  const kernels = await startKernelBench();
  try {
    const results: BenchResult[] = [];
    for (const comparison of comparisons) results.push(await compare(comparison, kernels, isal));
    return results;
  } finally {
    await kernels.stop();
    await isal.stop();
  }
}

async function compare(comparison: Comparison, kernels: KernelBench, isal: Isal): Promise<BenchResult> {
  const { name, work, lost, bytes, goal } = comparison;
  const speeds: Speed[] = [];
  let native = 0;
  for (let i = 0; i < RUNS; i++) {
    native = Math.max(native, await isal.bytesPerSecond(lost, bytes));
    speeds.push(await kernels.speed(work, bytes));
  }
  const speed = best(speeds);
  return figure({
    name,
    value: megabytes(speed.bytesPerSecond),
    unit: "MB/s",
    against: `ISA-L, ${Math.round(megabytes(native))} MB/s`,
    ratio: speed.bytesPerSecond / native,
    goal,
    cpu_seconds_per_gb: speed.cpuSecondsPerGb,
  });
}
