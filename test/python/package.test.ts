import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { compileMock, TOOLS } from "../companion/cuda/mock.ts";
import { everyPython, PYTHON, pytest, PYTHON_FOLDER, run, TORCH_PYTHON } from "./pytest.ts";
import { createWorld, type World } from "./world.ts";

const MINUTES = 60_000;
const ROOT = join(import.meta.dirname, "..", "..");
const NEEDS = "needs Python with test/python/requirements.txt";

test.each(everyPython())("%s alone streams what a companion hands over", async (python) => {
  expect(await run(python, ["-I", "tests/smoke.py"])).toMatch(/^ok: Python 3/);
});

describe.skipIf(PYTHON === undefined)(`the package (${NEEDS})`, () => {
  const python = PYTHON as string;

  test("has types and style", { timeout: 5 * MINUTES }, async () => {
    const others = [
      "../examples/numpy_training.py",
      "../examples/torch_training.py",
      "../scripts/gpu_check.py",
    ];
    await run(python, ["-m", "ruff", "check", "--no-cache", ".", ...others]);
    await run(python, ["-m", "mypy", "--cache-dir", "/dev/null"]);
  });

  test("units", { timeout: 5 * MINUTES }, async () => {
    expect(await pytest(python, ["tests/unit"])).toMatch(/passed/);
  });
});

describe.skipIf(PYTHON === undefined)(`against a real gateway (${NEEDS})`, () => {
  const python = PYTHON as string;
  let world: World;
  let site: string;
  let environment: Record<string, string>;
  beforeAll(async () => {
    site = mkdtempSync(join(tmpdir(), "cyxcloud-wheel-"));
    world = await createWorld();
    // The bundle that the wheel brings, so that what people install is what is tested.
    await run(
      process.execPath,
      ["scripts/build-python.ts", "--wheel-dir", site],
      { CYXCLOUD_PYTHON: python },
      ROOT,
    );
    const companion = join(PYTHON_FOLDER, "cyxcloud", "_companion", "companion.mjs");
    environment = {
      CYXCLOUD_TEST_WORLD: world.file,
      CYXCLOUD_COMPANION: `'${process.execPath}' '${companion}'`,
    };
  }, 5 * MINUTES);
  afterAll(async () => {
    await world.close();
    rmSync(site, { recursive: true, force: true });
  });

  test("straight from the gateway, verified in Python", { timeout: 5 * MINUTES }, async () => {
    expect(await pytest(python, ["tests/direct"], environment)).toMatch(/passed/);
  });

  test("through a companion that it starts", { timeout: 10 * MINUTES }, async () => {
    expect(await pytest(python, ["tests/companion"], environment)).toMatch(/passed/);
  });

  test.skipIf(TOOLS === undefined)(
    "into device memory, as a driver for tests has it (needs gcc)",
    async () => {
      const mock = compileMock();
      try {
        const device = { CYXCLOUD_LIBCUDA: mock.path, CYXCLOUD_MOCK_CUDA: mock.folder };
        expect(await pytest(python, ["tests/device"], { ...environment, ...device })).toMatch(/passed/);
      } finally {
        mock.remove();
      }
    },
  );

  test("four lines, from the installed wheel and the companion in it", { timeout: 5 * MINUTES }, async () => {
    const wheel = readdirSync(site).find((file) => file.endsWith(".whl")) ?? "";
    expect(wheel).toMatch(/^cyxcloud-.*-py3-none-\w+\.whl$/);
    const installed = join(site, "installed");
    await run(python, [
      "-m",
      "pip",
      "install",
      "-q",
      "--no-deps",
      "--no-index",
      "--target",
      installed,
      join(site, wheel),
    ]);
    mkdirSync(join(site, "bin"));
    symlinkSync(process.execPath, join(site, "bin", "node"));
    const script = join(PYTHON_FOLDER, "tests", "four_lines.py");
    const output = await run(
      python,
      [script],
      {
        CYXCLOUD_TEST_WORLD: world.file,
        CYXCLOUD_COMPANION: "",
        PYTHONPATH: installed,
        XDG_RUNTIME_DIR: site,
        HOME: site,
        // Node 24, as the extra `companion` would bring it, and no other companion.
        PATH: join(site, "bin"),
      },
      site,
    );
    expect(output).toContain(`1797 items by ${join(installed, "cyxcloud", "_companion", "companion.mjs")}`);
  });

  describe.skipIf(TORCH_PYTHON === undefined)(
    "PyTorch (needs torch and test/python/torch-requirements.txt)",
    () => {
      test("datasets, loaders and a training run", { timeout: 10 * MINUTES }, async () => {
        expect(await pytest(TORCH_PYTHON as string, ["tests/pytorch"], environment)).toMatch(/passed/);
      });
    },
  );
});
