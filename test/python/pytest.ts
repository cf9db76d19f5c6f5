/** Runs parts of python/tests with the interpreters that continuous integration prepares. */
import { execFile, execFileSync } from "node:child_process";
import { homedir } from "node:os";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { requireTool } from "../support/tools.ts";

export const PYTHON_FOLDER: string = join(import.meta.dirname, "..", "..", "python");

/** An interpreter with the packages of requirements.txt: `CYXCLOUD_PYTHON`, or the one in the path. */
export const PYTHON: string | undefined = findPython(
  process.env["CYXCLOUD_PYTHON"] ?? requireTool("python3"),
  "import blake3, hatchling, numpy, PIL, pytest, tqdm",
  "test/python/requirements.txt is not installed, and no test may skip.",
);

/** One with torch and what torch-requirements.txt lists: `CYXCLOUD_TORCH_PYTHON`, or the one in the path. */
export const TORCH_PYTHON: string | undefined = findPython(
  process.env["CYXCLOUD_TORCH_PYTHON"] ?? requireTool("python3"),
  "import blake3, numpy, pytest, torch, torchdata",
  "torch is not installed, and no test may skip.",
);

/** Every Python from 3.9 on that is here, with or without packages: those of pyenv, or the one in the path. */
export function everyPython(): readonly string[] {
  const versions = join(homedir(), ".pyenv", "versions");
  const found = existsSync(versions) ? readdirSync(versions) : [];
  const supported = found.filter((version) => /^3\.(9|\d\d)\./.test(version));
  const installed = supported.map((version) => join(versions, version, "bin", "python"));
  return installed.length > 0 ? installed : [requireTool("python3")].filter((path) => path !== undefined);
}

/** @throws with pytest's whole report when anything failed or was skipped. */
export async function pytest(
  python: string,
  parts: readonly string[],
  environment: Readonly<Record<string, string>> = {},
): Promise<string> {
  const report = await run(python, ["-m", "pytest", "-rs", "--tb=short", ...parts], environment);
  if (/\b\d+ skipped\b/.test(report)) throw new Error(report);
  return report;
}

/** What a program prints. @throws with it when it fails. */
export function run(
  program: string,
  options: readonly string[],
  environment: Readonly<Record<string, string>> = {},
  cwd: string = PYTHON_FOLDER,
): Promise<string> {
  const env = { ...process.env, PYTHONDONTWRITEBYTECODE: "1", ...environment };
  return new Promise((resolve, reject) => {
    execFile(
      program,
      options,
      { cwd, env, encoding: "utf8", maxBuffer: 1 << 24 },
      (error, stdout, stderr) => {
        if (error === null) resolve(stdout);
        else reject(new Error(`${program} ${options.join(" ")}\n${stdout}${stderr}`));
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
