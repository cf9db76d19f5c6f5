import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { fromHex } from "../../core/bytes.ts";
import { createOrder, type OrderMode } from "../../core/stream/order.ts";
import { requireTool } from "../support/tools.ts";

const file = fileURLToPath(new URL("../vectors/order-v1.json", import.meta.url));
const script = fileURLToPath(new URL("../vectors/order_v1.py", import.meta.url));

interface Vector {
  readonly mode: OrderMode;
  readonly count: number;
  readonly content_hash: string;
  readonly seed: string;
  readonly epoch: number;
  readonly block_size?: number;
  readonly lanes?: number;
  readonly blocks_per_group?: number;
  /** All of them where it is missing. */
  readonly positions?: readonly number[];
  readonly items: readonly number[];
}

const vectors = JSON.parse(readFileSync(file, "utf8")) as readonly Vector[];

test("order v1 reproduces the shared vectors", () => {
  expect(vectors.length).toBeGreaterThan(50);
  for (const vector of vectors) {
    const { block_size: blockSize = 0, lanes = 0, blocks_per_group: blocksPerGroup = 0 } = vector;
    const order = createOrder({
      mode: vector.mode,
      count: vector.count,
      contentHash: fromHex(vector.content_hash) as Uint8Array,
      seed: BigInt(vector.seed),
      epoch: vector.epoch,
      ...(vector.mode === "block" ? { block: { blockSize, lanes, blocksPerGroup } } : {}),
    });
    const positions = vector.positions ?? Array.from({ length: vector.count }, (_, position) => position);
    // Compared as vectors, so that a failure shows which.
    expect({ ...vector, items: positions.map((position) => order.itemAt(position)) }).toEqual(vector);
  }
});

const python = requireTool("python3");
test.skipIf(python === undefined)("an independent Python script reproduces the shared vectors", () => {
  const output = execFileSync(python as string, [script, "check", file], { encoding: "utf8" });
  expect(output).toMatch(/^\d+ vectors, \d+ items reproduced\n$/);
});
