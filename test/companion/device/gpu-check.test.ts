import { execFile } from "node:child_process";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { compileMock, TOOLS, type MockDriver } from "../cuda/mock.ts";

const SCRIPT = join(import.meta.dirname, "..", "..", "..", "scripts", "gpu-check.ts");

interface Ended {
  readonly code: number;
  readonly output: string;
}

/** Small enough for a test; the figures mean nothing without a device. */
function check(environment: Readonly<Record<string, string>>): Promise<Ended> {
  const options = ["--slot-mib", "2", "--slots", "2", "--gib", "0.02"];
  const env = { ...process.env, PYTHONDONTWRITEBYTECODE: "1", ...environment };
  return new Promise((resolve) => {
    execFile(process.execPath, [SCRIPT, ...options], { env, encoding: "utf8" }, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : Number(error.code), output: stdout + stderr });
    });
  });
}

describe.skipIf(TOOLS === undefined)("the check of a GPU machine (needs gcc and python3)", () => {
  let mock: MockDriver;
  beforeAll(() => {
    mock = compileMock();
  });
  afterAll(() => mock.remove());
  const environment = (more: Readonly<Record<string, string>> = {}): Readonly<Record<string, string>> => ({
    CYXCLOUD_LIBCUDA: mock.path,
    CYXCLOUD_MOCK_CUDA: mock.folder,
    CYXCLOUD_MOCK_CUDA_DELAY_US: "200",
    CYXCLOUD_MOCK_CUDA_FAIL: "",
    ...more,
  });

  test("compares every byte through each backend, and prints a row for it", async () => {
    const { code, output } = await check(environment());
    expect(output).toMatch(/Mock device 0, CUDA 12\.8, .*2 slots of 2 MiB/);
    for (const name of ["cuda-ipc", "cuda-hostreg", "shm"])
      expect(output).toMatch(new RegExp(`\\| \`${name}\` \\| right \\(\\d+ batches\\) \\|`));
    expect(output).toMatch(/goal 0\.9/);
    expect(output).not.toMatch(/mock libcuda:/);
    expect(code).toBe(0);
  });

  test("names what does not work", async () => {
    const { output } = await check(environment({ CYXCLOUD_MOCK_CUDA_FAIL: "cuIpcOpenMemHandle_v2=801" }));
    expect(output).toMatch(/`cuda-ipc` \| backend: cuda-ipc does not work here: .*CUDA_ERROR_NOT_SUPPORTED/);
    expect(output).toMatch(/`cuda-hostreg` \| right/);
  });

  test("says so where there is no GPU", async () => {
    const { code, output } = await check(environment({ CYXCLOUD_LIBCUDA: "/missing/libcuda.so" }));
    expect(output).toContain("there is nothing to check");
    expect(code).toBe(2);
  });
});
