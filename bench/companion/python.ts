import { execFile } from "node:child_process";
import { promisify } from "node:util";

/** The last is Debian's, with its packages, where the first in the path is another. */
const PYTHONS: readonly string[] = [process.env["CYXCLOUD_PYTHON"] ?? "python3", "/usr/bin/python3"];

/** The first Python that runs the statement, or undefined. */
export async function pythonWith(statement: string): Promise<string | undefined> {
  for (const python of PYTHONS) {
    try {
      await promisify(execFile)(python, ["-c", statement]);
      return python;
    } catch {
      // Not installed, or without these packages.
    }
  }
  return undefined;
}
