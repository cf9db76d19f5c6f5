/**
 * `npm run bench -- [NAME…] [--json]`: measures the named figures, or all. A name may be a
 * whole group (`kernels`). Results go to stdout, one line each; with `--json` one object each.
 */
import { parseArgs } from "node:util";
import { describe } from "./figure.ts";
import { registry } from "./registry.ts";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { json: { type: "boolean", default: false } },
});

const known = Object.keys(registry);
const unknown = positionals.filter((name) => !known.some((other) => belongs(other, name)));
if (unknown.length > 0) {
  console.error(`Unknown benchmark "${unknown.join('", "')}". Known: ${known.join(", ")}.`);
  process.exit(1);
}

for (const [name, load] of Object.entries(registry)) {
  if (positionals.length > 0 && !positionals.some((wanted) => belongs(name, wanted))) continue;
  const bench = await load();
  for (const result of await bench.measure()) {
    console.log(values.json ? JSON.stringify(result) : describe(result));
  }
}

function belongs(name: string, wanted: string): boolean {
  return name === wanted || name.startsWith(`${wanted}.`);
}
