// The one door of every command: `node scripts/run.mjs COMMAND [ARGUMENTS…]`.
//
// Plain JavaScript for Node ≥ 20 with nothing installed. It installs the packages when they are missing or
// differ from package-lock.json, then runs the command on Node 24, which the packages bring along.
// Its own lines go to stderr, so that `--json` commands keep stdout to themselves.

import { spawn, spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { constants } from "node:os";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";

const OLDEST_NODE = 20;
const WANTED_NODE = 24;

/** Command → the script and its leading arguments. */
const COMMANDS = {
  demo: ["scripts/demo.ts"],
  start: ["scripts/start.ts"],
  test: ["node_modules/vitest/vitest.mjs", "run"],
  check: ["scripts/check.ts"],
  attacks: ["scripts/attacks.ts"],
  bench: ["bench/run.ts"],
  migrate: ["scripts/migrate.ts"],
  "build:python": ["scripts/build-python.ts"],
};

const root = fileURLToPath(new URL("..", import.meta.url));
const modules = join(root, "node_modules");

const say = (line) => process.stderr.write(`${line}\n`);
const fail = (line) => {
  say(line);
  process.exit(1);
};
const majorOf = (version) => Number.parseInt(version.replace(/^v/, ""), 10);

const [command = "", ...rest] = process.argv.slice(2);
if (!Object.hasOwn(COMMANDS, command)) {
  fail(`Unknown command "${command}". Known: ${Object.keys(COMMANDS).join(", ")}.`);
}
if (majorOf(process.version) < OLDEST_NODE) {
  fail(`Node ${process.version} is too old: install Node ${OLDEST_NODE} or newer.`);
}

const started = Date.now();
if (!installed()) install();
run(nodeBinary(), COMMANDS[command]);

/**
 * Whether node_modules is what package-lock.json asks for. npm writes its own copy of the lock into
 * node_modules as the last step of an installation, so an interrupted one counts as missing.
 */
function installed() {
  let wanted;
  let present;
  try {
    wanted = JSON.parse(readFileSync(join(root, "package-lock.json"), "utf8")).packages;
    present = JSON.parse(readFileSync(join(modules, ".package-lock.json"), "utf8")).packages;
  } catch {
    return false;
  }
  return Object.entries(wanted).every(([path, entry]) => {
    if (path === "") return true;
    const found = present[path];
    // Packages for other platforms are in the lock, but not on this disk.
    if (found === undefined) return entry.optional === true;
    return found.version === entry.version && found.integrity === entry.integrity;
  });
}

/** No package needs its install script: what PostgreSQL's would do is done where it is started. */
function install() {
  const flags = ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"];
  for (const verb of ["ci", "install"]) {
    say(`Installing packages (npm ${verb}); the first time takes about a minute …`);
    const npm = process.platform === "win32" ? "npm.cmd" : "npm";
    const { status, error } = spawnSync(npm, [verb, ...flags], { cwd: root, stdio: ["ignore", 2, 2] });
    if (error) fail(`npm could not be started (${error.message}): install npm, then try again.`);
    if (status === 0) return say(`Packages installed in ${Math.round((Date.now() - started) / 1000)} s.`);
    say(`npm ${verb} ended with status ${status}.`);
  }
  fail("The packages could not be installed: see npm's message above.");
}

/** Node 24 from the packages, else the running one when it is new enough. */
function nodeBinary() {
  const bundled = join(modules, ".bin", "node");
  if (existsSync(bundled) && spawnSync(bundled, ["--version"]).status === 0) return bundled;
  if (majorOf(process.version) >= WANTED_NODE) return process.execPath;
  return fail(
    `Node ${WANTED_NODE} comes with the packages on Linux (x64, arm64). This machine has ${process.version}: install Node ${WANTED_NODE}.`,
  );
}

function run(node, [script, ...leading]) {
  const child = spawn(node, [script, ...leading, ...rest], {
    cwd: root,
    stdio: "inherit",
    env: {
      ...process.env,
      PATH: `${join(modules, ".bin")}${delimiter}${process.env.PATH ?? ""}`,
      CYXCLOUD_SETUP_SECONDS: ((Date.now() - started) / 1000).toFixed(1),
      WRANGLER_SEND_METRICS: "false",
      CLOUDFLARE_CF_FETCH_ENABLED: "false",
    },
  });
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => child.kill(signal));
  child.on("error", (error) => fail(`${node} could not be started: ${error.message}`));
  child.on("exit", (code, signal) => process.exit(code ?? 128 + (constants.signals[signal] ?? 0)));
}
