import type { BenchResult } from "../figure.ts";
import { compareWithIsal } from "./against-isal.ts";

const STRIPE = 128 * 1024;

/** Rebuilding data shards of a 4+2 stripe in workerd: two lost, which needs real products, and one, a plain sum. */
export function measure(): Promise<readonly BenchResult[]> {
  return compareWithIsal([
    { name: "kernels.rs_reconstruct", work: "rs_reconstruct_2", lost: 2, bytes: STRIPE, goal: null },
    { name: "kernels.rs_reconstruct_one", work: "rs_reconstruct_1", lost: 1, bytes: STRIPE, goal: null },
  ]);
}
