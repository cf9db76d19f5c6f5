// `node scripts/ci-summary.mjs REPORT` with CHECK and TESTS, each "passed" or "failed": reads vitest's JSON
// report, names what skipped, and ends with the line `N passed, N failed`.
import { readFileSync } from "node:fs";

let passed = 0;
let failed = 0;
const blame = (what) => {
  failed++;
  console.log(`FAILED: ${what}`);
};

if (process.env.CHECK !== "passed") blame("npm run check");
let suites = [];
try {
  suites = JSON.parse(readFileSync(process.argv[2], "utf8")).testResults;
} catch {
  blame("npm test wrote no report");
}
for (const { name, status, assertionResults } of suites) {
  for (const test of assertionResults) {
    if (test.status === "passed") passed++;
    else blame(`${test.fullName} (${test.status})`);
  }
  if (status === "failed" && !assertionResults.some((test) => test.status === "failed")) blame(name);
}
// Whatever fails outside a test, such as an unhandled rejection.
if (process.env.TESTS !== "passed" && failed === 0) blame("npm test");

console.log(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 && passed > 0 ? 0 : 1);
