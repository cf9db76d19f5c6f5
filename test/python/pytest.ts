/** Runs parts of python/tests with the interpreters that continuous integration prepares. */
import { execFile, execFileSync } from "node:child_process";
import { join } from "node:path";
import { requireTool } from "../support/tools.ts";

const PYTHON_FOLDER: string = join(import.meta.dirname, "..", "..", "python");

/** An interpreter with the packages of test/python/requirements.txt: `CYXCLOUD_PYTHON`, or the one in the path. */
export const PYTHON: string | undefined = findPython(
  process.env["CYXCLOUD_PYTHON"] ?? requireTool("python3"),
  "import blake3, numpy, PIL, pytest, tqdm",
  "test/python/requirements.txt is not installed, and no test may skip.",
);

/** One with torch, too: `CYXCLOUD_TORCH_PYTHON`, or else the same. */
export const TORCH_PYTHON: string | undefined = findPython(
  process.env["CYXCLOUD_TORCH_PYTHON"] ?? PYTHON,
  "import blake3, numpy, pytest, torch",
  "torch is not installed, and no test may skip.",
);

/** @throws with pytest's whole report when anything failed or was skipped. */
export function pytest(
  python: string,
  parts: readonly string[],
  environment: Readonly<Record<string, string>> = {},
): Promise<string> {
  const env = { ...process.env, PYTHONDONTWRITEBYTECODE: "1", ...environment };
  return new Promise((resolve, reject) => {
    execFile(
      python,
      ["-m", "pytest", "-rs", "--tb=short", ...parts],
      { cwd: PYTHON_FOLDER, env, encoding: "utf8", maxBuffer: 1 << 24 },
      (error, stdout, stderr) => {
        const skipped = /\b\d+ skipped\b/.test(stdout);
        if (error === null && !skipped) resolve(stdout);
        else reject(new Error(`pytest ${parts.join(" ")}\n${stdout}${stderr}`));
      },
    );
  });
}

function findPython(python: string | undefined, needs: string, missing: string): string | undefined {
  if (python === undefined) return undefined;
  try {
    execFileSync(python, ["-c", needs], { stdio: "ignore" });
    return python;
  } catch (cause) {
    if (process.env["CYXCLOUD_REQUIRE_TOOLS"] === "1") throw new Error(missing, { cause });
    return undefined;
  }
}
