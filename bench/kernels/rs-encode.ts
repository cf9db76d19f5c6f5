import type { BenchResult } from "../figure.ts";
import { compareWithIsal } from "./against-isal.ts";

const GOAL = 0.6;

/** Reed-Solomon 4+2 encoding in workerd: stripes that fit the cache, and whole 16 MiB chunks. */
export function measure(): Promise<readonly BenchResult[]> {
  return compareWithIsal([
    { name: "kernels.rs_encode", work: "rs_encode", lost: 0, bytes: 128 * 1024, goal: GOAL },
    { name: "kernels.rs_encode_16mib", work: "rs_encode", lost: 0, bytes: 16 * 1024 * 1024, goal: GOAL },
  ]);
}
