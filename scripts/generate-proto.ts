/**
 * Generates `proto/gen/` from `proto/datastream.proto`.
 * With `--check`, generates into a temporary folder and fails if the committed code differs.
 */
import { execFileSync } from "node:child_process";
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const protoFolder = join(import.meta.dirname, "..", "proto");

function generate(output: string): void {
  const buf = join(import.meta.dirname, "..", "node_modules", ".bin", "buf");
  execFileSync(buf, ["generate", "--output", output], {
    cwd: protoFolder,
    stdio: ["ignore", "inherit", "inherit"],
  });
}

function contents(folder: string): Map<string, string> {
  return new Map(readdirSync(folder).map((name) => [name, readFileSync(join(folder, name), "utf8")]));
}

if (process.argv.includes("--check")) {
  const scratch = mkdtempSync(join(tmpdir(), "datastream-proto-"));
  try {
    cpSync(protoFolder, scratch, { recursive: true });
    generate(scratch);
    const [committed, fresh] = [contents(join(protoFolder, "gen")), contents(join(scratch, "gen"))];
    const stale = [...new Set([...committed.keys(), ...fresh.keys()])].filter(
      (n) => committed.get(n) !== fresh.get(n),
    );
    if (stale.length > 0) {
      console.error(`proto/gen is not current (${stale.join(", ")}). Run: node scripts/generate-proto.ts`);
      process.exitCode = 1;
    }
  } finally {
    rmSync(scratch, { recursive: true });
  }
} else {
  generate(protoFolder);
}
