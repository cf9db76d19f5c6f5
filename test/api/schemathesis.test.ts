/** Requests that schemathesis makes up from the OpenAPI document, valid and not: none may break the gateway. */
import { execFile } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { startGateway } from "../support/gateway.ts";
import { requireTool } from "../support/tools.ts";

const SCHEMATHESIS = requireTool("schemathesis");
/** Per operation and phase, beside the cases that the limits of each field call for. */
const EXAMPLES = 10;
const CHECKS = [
  "not_a_server_error",
  "status_code_conformance",
  "content_type_conformance",
  "response_headers_conformance",
  "response_schema_conformance",
];

test.skipIf(SCHEMATHESIS === undefined)(
  "no request makes the gateway fail or answer what it does not document (needs schemathesis)",
  { timeout: 600_000 },
  async () => {
    const gateway = await startGateway();
    const folder = mkdtempSync(join(tmpdir(), "cyxcloud-schemathesis-"));
    try {
      const { code, output } = await run(folder, [
        "run",
        `${gateway.url}/openapi.json`,
        "--header",
        `Authorization: Bearer ${gateway.owner.apiKey}`,
        "--checks",
        CHECKS.join(","),
        "--phases",
        "examples,coverage,fuzzing",
        "--max-examples",
        String(EXAMPLES),
        "--generation-deterministic",
        "--continue-on-failure",
        "--warnings",
        "off",
        "--no-color",
      ]);
      expect(code, output).toBe(0);
      // It did run, over every operation, and was let in.
      expect(output).toMatch(/Tested: (\d+)\b/);
      const [, selected, all] = /Selected: (\d+)\/(\d+)/.exec(output) ?? [];
      expect(selected).toBe(all);
      expect(Number(/(\d+) generated/.exec(output)?.[1])).toBeGreaterThan(500);
    } finally {
      await gateway.stop();
      rmSync(folder, { recursive: true, force: true });
    }
  },
);

/** In a folder of its own, as it leaves files behind. */
function run(cwd: string, options: readonly string[]): Promise<{ code: number; output: string }> {
  return new Promise((resolve) => {
    const settings = { cwd, encoding: "utf8", maxBuffer: 64 * 1024 * 1024 } as const;
    execFile(SCHEMATHESIS as string, options, settings, (error, stdout, stderr) =>
      resolve({ code: error === null ? 0 : Number(error.code ?? 1), output: `${stdout}${stderr}` }),
    );
  });
}
