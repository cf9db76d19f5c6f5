import type { Kernels } from "../../../kernels/index.ts";

/** Runs in Node and in workerd alike; throws when it fails. */
export interface KernelCase {
  readonly name: string;
  readonly run: (kernels: Kernels) => void;
}
