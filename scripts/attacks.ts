/** `npm run attacks`: the forged and misused requests of test/attacks alone, and how many of each class got through. */
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Table from "cli-table3";
import { ROOT } from "./stack/paths.ts";

interface Row {
  readonly name: string;
  readonly tried: number;
  readonly accepted: number;
}

const directory = mkdtempSync(join(tmpdir(), "cyxcloud-attacks-"));
const report = join(directory, "report.json");
const vitest = join(ROOT, "node_modules/vitest/vitest.mjs");
const { status } = spawnSync(
  process.execPath,
  [vitest, "run", "--reporter=dot", "test/attacks", ...process.argv.slice(2)],
  { cwd: ROOT, stdio: "inherit", env: { ...process.env, CYXCLOUD_ATTACKS_REPORT: report } },
);
const rows = existsSync(report) ? (JSON.parse(readFileSync(report, "utf8")) as Row[]) : [];
rmSync(directory, { recursive: true });

const table = new Table({ head: ["Class", "Tried", "Accepted"], colAligns: ["left", "right", "right"] });
const sum = (count: (row: Row) => number): number => rows.reduce((total, row) => total + count(row), 0);
for (const { name, tried, accepted } of rows) table.push([name, tried, accepted]);
table.push([`${rows.length} classes`, sum(({ tried }) => tried), sum(({ accepted }) => accepted)]);
process.stdout.write(`${table.toString()}\n`);
process.exitCode = status ?? 1;
