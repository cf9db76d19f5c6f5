/** The two programs that verify a receipt: the command and the Python script, each as a process of its own. */
import { execFile, execFileSync } from "node:child_process";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { requireTool } from "../support/tools.ts";

const ROOT = join(import.meta.dirname, "..", "..");

export interface Verdict {
  readonly accepted: boolean;
  readonly output: string;
}

/** What a stranger has. */
export interface ReceiptFiles {
  readonly envelope: unknown;
  readonly jwks: unknown;
  readonly manifest: Uint8Array;
  /** Of a stream with a filter; for the script alone. */
  readonly view?: readonly number[];
}

/** A Python with the packages of requirements.txt: `CYXCLOUD_PYTHON`, or the one in the path. */
export const PYTHON: string | undefined = findPython();

export function verifyByCommand(files: ReceiptFiles): Promise<Verdict> {
  const { receipt, jwks, manifest } = write(files);
  return run(process.execPath, [
    join(ROOT, "cli", "main.ts"),
    "receipt",
    "verify",
    receipt,
    "--jwks",
    jwks,
    "--manifest",
    manifest,
  ]);
}

export function verifyByScript(files: ReceiptFiles): Promise<Verdict> {
  const { receipt, jwks, manifest, view } = write(files);
  const script = join(ROOT, "docs", "receipt_verify.py");
  return run(PYTHON as string, [script, receipt, jwks, manifest, ...(view === undefined ? [] : [view])]);
}

function write(files: ReceiptFiles): { receipt: string; jwks: string; manifest: string; view?: string } {
  const folder = mkdtempSync(join(tmpdir(), "cyxcloud-receipt-"));
  const put = (name: string, content: string | Uint8Array): string => {
    writeFileSync(join(folder, name), content);
    return join(folder, name);
  };
  return {
    receipt: put("receipt.json", JSON.stringify(files.envelope)),
    jwks: put("keys.json", JSON.stringify(files.jwks)),
    manifest: put("files.manifest", files.manifest),
    ...(files.view && { view: put("view.json", JSON.stringify(files.view)) }),
  };
}

function run(program: string, arguments_: readonly string[]): Promise<Verdict> {
  return new Promise((resolve) => {
    const env = { PATH: process.env["PATH"] ?? "", HOME: tmpdir() };
    execFile(program, arguments_, { env, cwd: tmpdir(), encoding: "utf8" }, (error, stdout, stderr) => {
      resolve({ accepted: error === null, output: stdout + stderr });
    });
  });
}

function findPython(): string | undefined {
  const python = process.env["CYXCLOUD_PYTHON"] ?? requireTool("python3");
  if (python === undefined) return undefined;
  try {
    execFileSync(python, ["-c", "import blake3, cryptography"], { stdio: "ignore" });
    return python;
  } catch (cause) {
    if (process.env["CYXCLOUD_REQUIRE_TOOLS"] === "1")
      throw new Error("test/receipts/requirements.txt is not installed, and no test may skip.", { cause });
    return undefined;
  }
}
