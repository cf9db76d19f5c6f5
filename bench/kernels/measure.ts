import { fileURLToPath } from "node:url";
import { startSingleWorker } from "../../scripts/single-worker.ts";
import { descendantCpuSeconds } from "../cpu.ts";

export type Work = "blake3" | "blake3_in_place" | "rs_encode" | "rs_reconstruct_1" | "rs_reconstruct_2";

/** Bytes of data in a second, and CPU seconds for 10^9 of them. */
export interface Speed {
  readonly bytesPerSecond: number;
  readonly cpuSecondsPerGb: number | null;
}

export interface KernelBench {
  /** One run of about `SECONDS_PER_RUN`; the time of the request itself is subtracted. */
  speed(work: Work, bytes: number): Promise<Speed>;
  stop(): Promise<void>;
}

/** Runs of each side, taken in turns so that both meet the same load; the best one counts. */
export const RUNS = 10;
/** As long as native b3sum takes for its file, so that both have the same chance of a quiet moment. */
const SECONDS_PER_RUN = 0.25;
const WARM_UP_BYTES = 256 * 1024 * 1024;

export async function startKernelBench(): Promise<KernelBench> {
  const worker = await startSingleWorker(fileURLToPath(new URL("worker.ts", import.meta.url)));
  const timesOf = new Map<string, number>();

  async function seconds(work: Work, bytes: number, times: number): Promise<number> {
    const start = performance.now();
    const response = await fetch(`${worker.url}/?work=${work}&bytes=${bytes}&times=${times}`);
    if (!response.ok) throw new Error(await response.text());
    return (performance.now() - start) / 1000;
  }

  return {
    async speed(work, bytes) {
      const name = `${work} ${bytes}`;
      let times = timesOf.get(name);
      if (times === undefined) {
        const warmUp = Math.ceil(WARM_UP_BYTES / bytes);
        await seconds(work, bytes, warmUp);
        times = Math.ceil((warmUp * SECONDS_PER_RUN) / (await seconds(work, bytes, warmUp)));
        timesOf.set(name, times);
      }
      const empty = Math.min(await seconds(work, bytes, 0), await seconds(work, bytes, 0));
      const before = descendantCpuSeconds();
      const elapsed = (await seconds(work, bytes, times)) - empty;
      const after = descendantCpuSeconds();
      const cpu = before === undefined || after === undefined ? null : after - before;
      const total = bytes * times;
      return {
        bytesPerSecond: total / elapsed,
        cpuSecondsPerGb: cpu === null ? null : cpu / (total / 1e9),
      };
    },
    stop: () => worker.stop(),
  };
}

export function best(speeds: readonly Speed[]): Speed {
  return speeds.reduce((a, b) => (b.bytesPerSecond > a.bytesPerSecond ? b : a));
}

export function megabytes(bytesPerSecond: number): number {
  return bytesPerSecond / 1e6;
}
