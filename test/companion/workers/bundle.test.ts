import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { afterAll, expect, test } from "vitest";

const ROOT = fileURLToPath(new URL("../../..", import.meta.url));
mkdirSync(join(ROOT, ".tsbuild"), { recursive: true });
// Inside the repository, where native packages are found.
const folder = mkdtempSync(join(ROOT, ".tsbuild", "decoder-bundle-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test("pool and threads work from bundles, with the thread's file named by the caller", async () => {
  await build({
    entryPoints: {
      pool: join(ROOT, "companion/workers/pool.ts"),
      "decoder-thread": join(ROOT, "companion/workers/worker.ts"),
    },
    outdir: folder,
    bundle: true,
    format: "esm",
    platform: "node",
    target: "node24",
    packages: "external",
    outExtension: { ".js": ".mjs" },
  });
  cpSync(join(ROOT, "kernels/kernels.wasm"), join(folder, "kernels.wasm"));
  writeFileSync(
    join(folder, "main.mjs"),
    `import { WorkerPool } from "./pool.mjs";
    const pool = new WorkerPool(2, { file: new URL("./decoder-thread.mjs", import.meta.url) });
    const schema = { type: "tensor", format: "raw", shape: [4], dtype: "uint8", labels: "none" };
    const format = await pool.probe(Uint8Array.of(1, 2, 3, 4), "a", schema, undefined);
    const ring = { kind: "shared", buffer: new SharedArrayBuffer(4), byteOffset: 0, byteLength: 4 };
    const input = new SharedArrayBuffer(4);
    new Uint8Array(input).set([5, 6, 7, 8]);
    const items = [{ offset: 0, length: 4, hash: undefined, itemIndex: 0, path: "a" }];
    const results = await pool.run({ input, items, output: ring, ring, format, processing: undefined, seed: 0n, epoch: 0 });
    console.log(JSON.stringify([results, [...new Uint8Array(ring.buffer)]]));
    await pool.close();`,
  );
  const output = execFileSync(process.execPath, [join(folder, "main.mjs")], { encoding: "utf8" });
  expect(JSON.parse(output)).toEqual([[{ ok: true }], [5, 6, 7, 8]]);
});
