/** Outside programs that some tests compare against, such as `b3sum` or `python3`. */
import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";

/**
 * Absolute path of a program, or undefined where it is not installed, so that a test can skip and name it:
 * `test.skipIf(!requireTool("b3sum"))("… (needs b3sum)", …)`.
 *
 * @throws when CYXCLOUD_REQUIRE_TOOLS=1, as in continuous integration: there nothing may be skipped.
 */
export function requireTool(name: string): string | undefined {
  for (const directory of (process.env.PATH ?? "").split(delimiter)) {
    const path = join(directory, name);
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // Not in this directory.
    }
  }
  if (process.env.CYXCLOUD_REQUIRE_TOOLS === "1")
    throw new Error(`${name} is not installed, and no test may skip.`);
  return undefined;
}
