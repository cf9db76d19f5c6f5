import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

/**
 * Runs a command on Node 24 or newer: this one, or the one that the packages bring along. Older ones cannot read TypeScript.
 * @param {string} name of the command
 * @param {URL} main its entry
 */
export async function launch(name, main) {
  if (Number.parseInt(process.versions.node, 10) >= 24) {
    await import(main.href);
    return;
  }
  const bundled = fileURLToPath(new URL("../../node_modules/.bin/node", import.meta.url));
  if (!existsSync(bundled)) {
    console.error(`${name} needs Node 24 or newer; this is ${process.version}.`);
    process.exit(1);
  }
  const child = spawn(bundled, [fileURLToPath(main), ...process.argv.slice(2)], { stdio: "inherit" });
  for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => child.kill(signal));
  child.on("exit", (code, signal) => process.exit(code ?? (signal === null ? 1 : 130)));
}
