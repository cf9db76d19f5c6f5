/** What verifies a receipt: the command, the client that it calls, and the Python script. */
import { execFile, execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { verifyReceipt } from "../../client/receipts.ts";
import { DataStreamError } from "../../core/errors.ts";
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

/** `cyxcloud receipt verify`, as a process of its own. */
export function verifyByCommand(files: ReceiptFiles): Promise<Verdict> {
  const main = join(ROOT, "cli", "main.ts");
  return run(process.execPath, files, ({ receipt, jwks, manifest }) => [
    main,
    "receipt",
    "verify",
    receipt,
    "--jwks",
    jwks,
    "--manifest",
    manifest,
  ]);
}

/** Any command, with nothing of this process's environment. */
export function cyxcloud(
  arguments_: readonly string[],
  environment: Record<string, string> = {},
): Promise<Verdict> {
  return execute(process.execPath, [join(ROOT, "cli", "main.ts"), ...arguments_], tmpdir(), environment);
}

/** docs/receipt_verify.py. */
export function verifyByScript(files: ReceiptFiles): Promise<Verdict> {
  const script = join(ROOT, "docs", "receipt_verify.py");
  return run(
    PYTHON as string,
    files,
    ({ receipt, jwks, manifest, view }) =>
      [script, receipt, jwks, manifest, view].filter((file) => file !== undefined),
    { PYTHONOPTIMIZE: "1" }, // which drops assertions: nothing may hang on them
  );
}

/** What the command calls, without its process. */
export async function verifyByClient(files: ReceiptFiles): Promise<Verdict> {
  try {
    const { headsChecked } = await verifyReceipt(files);
    return { accepted: true, output: `${headsChecked} heads` };
  } catch (error) {
    if (!(error instanceof DataStreamError) || error.code === "internal") throw error;
    return { accepted: false, output: `error: ${error.message}` };
  }
}

interface WrittenFiles {
  readonly receipt: string;
  readonly jwks: string;
  readonly manifest: string;
  readonly view: string | undefined;
}

function run(
  program: string,
  files: ReceiptFiles,
  argumentsOf: (written: WrittenFiles) => string[],
  environment: Record<string, string> = {},
): Promise<Verdict> {
  const folder = mkdtempSync(join(tmpdir(), "cyxcloud-receipt-"));
  const put = (name: string, content: string | Uint8Array): string => {
    writeFileSync(join(folder, name), content);
    return join(folder, name);
  };
  const written = {
    receipt: put("receipt.json", JSON.stringify(files.envelope)),
    jwks: put("keys.json", JSON.stringify(files.jwks)),
    manifest: put("files.manifest", files.manifest),
    view: files.view && put("view.json", JSON.stringify(files.view)),
  };
  return execute(program, argumentsOf(written), folder, environment).finally(() =>
    rmSync(folder, { recursive: true }),
  );
}

function execute(
  program: string,
  arguments_: readonly string[],
  folder: string,
  environment: Record<string, string> = {},
): Promise<Verdict> {
  const env = { PATH: process.env["PATH"] ?? "", HOME: folder, ...environment };
  return new Promise((resolve) => {
    execFile(program, arguments_, { env, cwd: folder, encoding: "utf8" }, (error, stdout, stderr) => {
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
