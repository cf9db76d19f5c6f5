import type { Blake3 } from "../../core/ports.ts";
import { loadKernels } from "../../kernels/index.ts";

/** One instance for a test file. */
export const blake3: Blake3 = (await loadKernels({ heapBytes: 1024 * 1024 })).blake3;
