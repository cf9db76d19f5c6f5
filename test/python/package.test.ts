import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { PYTHON, pytest } from "./pytest.ts";
import { createWorld, type World } from "./world.ts";

const MINUTES = 60_000;
const COMPANION = `'${process.execPath}' '${join(import.meta.dirname, "../../companion/main.ts")}'`;

test.skipIf(PYTHON === undefined)(
  "units (needs Python with test/python/requirements.txt)",
  async () => {
    expect(await pytest(PYTHON as string, ["tests/unit"])).toMatch(/passed/);
  },
  5 * MINUTES,
);

describe.skipIf(PYTHON === undefined)("against a real gateway (needs the same Python)", () => {
  let world: World;
  beforeAll(async () => {
    world = await createWorld();
  }, 5 * MINUTES);
  afterAll(() => world.close());

  test("straight from the gateway, verified in Python", { timeout: 5 * MINUTES }, async () => {
    const environment = { CYXCLOUD_TEST_WORLD: world.file };
    expect(await pytest(PYTHON as string, ["tests/direct"], environment)).toMatch(/passed/);
  });

  test("through a companion that it starts", { timeout: 5 * MINUTES }, async () => {
    const environment = { CYXCLOUD_TEST_WORLD: world.file, CYXCLOUD_COMPANION: COMPANION };
    expect(await pytest(PYTHON as string, ["tests/companion"], environment)).toMatch(/passed/);
  });
});
