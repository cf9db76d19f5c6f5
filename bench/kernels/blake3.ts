import { type BenchResult, figure } from "../figure.ts";
import { startNativeBlake3 } from "./b3sum.ts";
import { best, megabytes, RUNS, type Speed, startKernelBench, type Work } from "./measure.ts";

const CALL_BYTES = 128 * 1024;
const GOAL = 0.8;

/**
 * The hash in workerd, 128 KiB a call: `kernels.blake3` with the copy into kernel memory,
 * `kernels.blake3_in_place` on bytes that lie there.
 */
export async function measure(): Promise<readonly BenchResult[]> {
  const native = await startNativeBlake3();
  if (typeof native === "string") return [{ name: "kernels.blake3", skipped: native }];
  const kernels = await startKernelBench();
  try {
    const works: readonly Work[] = ["blake3", "blake3_in_place"];
    const speeds = new Map<Work, Speed[]>(works.map((work) => [work, []]));
    let nativeBest = 0;
    for (let i = 0; i < RUNS; i++) {
      nativeBest = Math.max(nativeBest, await native.bytesPerSecond());
      for (const work of works) speeds.get(work)?.push(await kernels.speed(work, CALL_BYTES));
    }
    return works.map((work) => {
      const speed = best(speeds.get(work) ?? []);
      return figure({
        name: `kernels.${work}`,
        value: megabytes(speed.bytesPerSecond),
        unit: "MB/s",
        against: `${native.name}, ${Math.round(megabytes(nativeBest))} MB/s`,
        ratio: speed.bytesPerSecond / nativeBest,
        goal: GOAL,
        cpu_seconds_per_gb: speed.cpuSecondsPerGb,
      });
    });
  } finally {
    await kernels.stop();
    await native.stop();
  }
}
