/** `npm run check`: everything that holds before a commit, one after the other, and a table at the end. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { ROOT } from "./stack/paths.ts";

/** Gzipped size of what is deployed. The platform allows 10 MiB; start-up time asks for much less. */
const BUNDLE_BUDGET_BYTES = 1024 * 1024;

interface Check {
  readonly name: string;
  /** Undefined when all is well, else what is wrong. */
  readonly run: () => string | undefined;
}

const CHECKS: readonly Check[] = [
  { name: "types and folder imports", run: tool("tsc", "-b") },
  { name: "lint", run: tool("oxlint", "--type-aware", "--deny-warnings") },
  { name: "format", run: tool("oxfmt", "--check") },
  { name: "unused code and packages", run: tool("knip") },
  { name: "proto code is current", run: script("scripts/generate-proto.ts", "--check") },
  { name: "wasm equals a rebuild", run: script("scripts/build-kernels.ts", "--check") },
  { name: "deployable within budget", run: deployDryRun },
];

const rows = CHECKS.map(({ name, run }) => {
  process.stdout.write(`${name} … `);
  const started = performance.now();
  const problem = run();
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  console.log(problem === undefined ? "ok" : `failed\n${problem}\n`);
  return { name, seconds, passed: problem === undefined };
});

console.log();
for (const { name, seconds, passed } of rows) {
  console.log(`  ${passed ? "ok    " : "FAILED"}  ${name.padEnd(26)} ${seconds.padStart(5)} s`);
}
process.exitCode = rows.every(({ passed }) => passed) ? 0 : 1;

function tool(name: string, ...options: string[]): () => string | undefined {
  return () => command(join(ROOT, "node_modules", ".bin", name), options);
}

function script(path: string, ...options: string[]): () => string | undefined {
  return () => command(process.execPath, [path, ...options]);
}

function command(file: string, options: readonly string[]): string | undefined {
  const { status, stdout, stderr, error } = spawnSync(file, options, { cwd: ROOT, encoding: "utf8" });
  if (error) return error.message;
  return status === 0 ? undefined : `${stdout}${stderr}`.trim();
}

function deployDryRun(): string | undefined {
  const output = mkdtempSync(join(tmpdir(), "cyxcloud-bundle-"));
  try {
    const problem = tool("wrangler", "deploy", "--dry-run", "--outdir", output)();
    if (problem !== undefined) return problem;
    // Everything but the source map, and the file in which wrangler explains the folder.
    const deployed = readdirSync(output).filter((name) => !/\.map$|^README/.test(name));
    const bytes = deployed.reduce(
      (sum, name) => sum + gzipSync(readFileSync(join(output, name))).byteLength,
      0,
    );
    process.stdout.write(`${(bytes / 1024).toFixed(0)} of ${BUNDLE_BUDGET_BYTES / 1024} KiB gzipped: `);
    if (bytes <= BUNDLE_BUDGET_BYTES) return undefined;
    return `The bundle is above its budget. What grew: npx esbuild --analyze, or look into ${deployed.join(", ")}.`;
  } finally {
    rmSync(output, { recursive: true, force: true });
  }
}
