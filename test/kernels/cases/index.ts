import { blake3Cases } from "./blake3.ts";
import type { KernelCase } from "./case.ts";
import { heapCases } from "./heap.ts";
import { imageCases } from "./image.ts";
import { reedSolomonCases } from "./reed-solomon.ts";

export const kernelCases: readonly KernelCase[] = [
  ...blake3Cases,
  ...reedSolomonCases,
  ...imageCases,
  ...heapCases,
];
/** Enough for every case; small, so that a full heap is met in tests and not in memory. */
export const TEST_HEAP_BYTES: number = 4 * 1024 * 1024;
