import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Kernels, loadKernels } from "../../kernels/index.ts";
import { type SingleWorker, startSingleWorker } from "../../scripts/single-worker.ts";
import { kernelCases, TEST_HEAP_BYTES } from "./cases/index.ts";

describe("in Node", () => {
  let kernels: Kernels;
  beforeAll(async () => {
    kernels = await loadKernels({ heapBytes: TEST_HEAP_BYTES });
  });
  test.each(kernelCases)("$name", ({ run }) => {
    expect(() => run(kernels)).not.toThrow();
  });
});

describe("in workerd", () => {
  let worker: SingleWorker;
  beforeAll(async () => {
    worker = await startSingleWorker(fileURLToPath(new URL("worker.ts", import.meta.url)));
  });
  afterAll(() => worker.stop());
  test.each(kernelCases.map(({ name }, index) => ({ name, index })))("$name", async ({ name, index }) => {
    const response = await fetch(`${worker.url}/?case=${index}`);
    expect(await response.text()).toBe(name);
  });
});
