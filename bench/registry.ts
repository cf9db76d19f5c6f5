import type { BenchModule } from "./figure.ts";

/**
 * Every benchmark by name, loaded only when it runs. A name with a prefix in common
 * (`kernels`) runs with its group.
 */
export const registry: Readonly<Record<string, () => Promise<BenchModule>>> = {
  "kernels.blake3": () => import("./kernels/blake3.ts"),
  "kernels.rs_encode": () => import("./kernels/rs-encode.ts"),
  "kernels.rs_reconstruct": () => import("./kernels/rs-reconstruct.ts"),
  "stream.verified": () => import("./stream/verified.ts"),
  "stream.degraded": () => import("./stream/degraded.ts"),
  "stream.peak_memory": () => import("./stream/peak-memory.ts"),
  "companion.receive": () => import("./companion/receive.ts"),
  "companion.memory": () => import("./companion/memory.ts"),
  "companion.handoff": () => import("./companion/handoff.ts"),
  "companion.decode": () => import("./companion/decode.ts"),
  "companion.training": () => import("./companion/training.ts"),
};
