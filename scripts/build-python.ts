/**
 * `npm run build:python`: the companion as a few files of JavaScript beside the Python package, then a wheel of both in
 * `dist/` or the folder of `--wheel-dir`. The wheel is for this machine's platform, because of the native modules; Node
 * comes from the extra `cyxcloud[companion]`. `--bundle-only` leaves out the wheel.
 */
import { spawnSync } from "node:child_process";
import { cpSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, join, relative } from "node:path";
import { parseArgs } from "node:util";
import { build, type Plugin } from "esbuild";
import { ROOT } from "./stack/paths.ts";

const PACKAGE = join(ROOT, "python", "cyxcloud", "_companion");
/** Files that run on threads of their own, by the name under which the bundle has them. */
const THREADS: Readonly<Record<string, string>> = {
  "companion/workers/worker.ts": "decoder.mjs",
  "companion/device/cuda/thread.ts": "cuda.mjs",
};
const PLATFORM = `${process.platform}-${process.arch}`;
/** Loaded from their own folders, since each finds its binary relative to itself: what of them runs. */
const NATIVE_PACKAGES: readonly (readonly [name: string, files: RegExp])[] = [
  ["koffi", /^(index|indirect)\.c?js$|^src\/koffi\/.*\.c?js$/],
  [`@koromix/koffi-${PLATFORM}`, /\.(js|node)$/],
  ["@julusian/jpeg-turbo", new RegExp(`^(index|binding-options)\\.js$|^prebuilds/jpeg-turbo-${PLATFORM}/`)],
  ["pkg-prebuilds", /^(bindings|lib\/.*)\.js$/],
  ["@napi-rs/image", /^index\.js$/],
  [`@napi-rs/image-${PLATFORM}${process.platform === "linux" ? "-gnu" : ""}`, /\.node$/],
];

const { values: options } = parseArgs({
  options: {
    "bundle-only": { type: "boolean", default: false },
    "wheel-dir": { type: "string", default: join(ROOT, "dist") },
  },
});
const modules = join(ROOT, "node_modules");
rmSync(PACKAGE, { recursive: true, force: true });
mkdirSync(PACKAGE, { recursive: true });
const bundled = await bundle();
cpSync(join(ROOT, "kernels", "kernels.wasm"), join(PACKAGE, "kernels.wasm"));
const native = copyNativePackages();
writeLicenses([...bundled, ...native]);
checkItRuns();
console.log(`Bundled ${bundled.length + native.length} packages into ${relative(ROOT, PACKAGE)}.`);
if (!options["bundle-only"]) buildWheel(options["wheel-dir"]);

/** @returns the folders of the packages whose code is in the bundle. */
async function bundle(): Promise<string[]> {
  const { metafile } = await build({
    absWorkingDir: ROOT,
    entryPoints: [
      { in: join(ROOT, "companion", "main.ts"), out: "companion" },
      ...Object.entries(THREADS).map(([file, name]) => ({
        in: join(ROOT, file),
        out: basename(name, ".mjs"),
      })),
    ],
    outdir: PACKAGE,
    outExtension: { ".js": ".mjs" },
    chunkNames: "shared-[hash]",
    bundle: true,
    splitting: true,
    format: "esm",
    platform: "node",
    target: "node24",
    minifySyntax: true,
    minifyWhitespace: true,
    legalComments: "none",
    external: NATIVE_PACKAGES.map(([name]) => name),
    // CommonJS packages among the bundled ones call it.
    banner: {
      js: 'import { createRequire as createRequire_ } from "node:module"; const require = createRequire_(import.meta.url);',
    },
    plugins: [relocate()],
    metafile: true,
    logLevel: "warning",
  });
  const folders = Object.keys(metafile.inputs).map((file) =>
    /^(.*node_modules\/(?:@[^/]+\/)?[^/]+)\//.exec(file),
  );
  return [...new Set(folders.flatMap((found) => (found?.[1] === undefined ? [] : [join(ROOT, found[1])])))];
}

/** Files that the sources name by their own place get the name that they have in the bundle. */
function relocate(): Plugin {
  return {
    name: "relocate",
    setup(compilation) {
      compilation.onLoad({ filter: /\/(companion|kernels)\/.*\.ts$/ }, ({ path }) => {
        if (path.endsWith("/companion/service/version.ts")) {
          const { version } = readJson(join(ROOT, "companion", "package.json"));
          return { contents: `export const VERSION = ${JSON.stringify(version)};`, loader: "ts" };
        }
        const contents = readFileSync(path, "utf8").replaceAll(
          /new URL\("(\.[^"]+)", import\.meta\.url\)/g,
          (_, named: string) => `new URL("./${nameInBundle(join(dirname(path), named))}", import.meta.url)`,
        );
        return { contents, loader: "ts" };
      });
    },
  };
}

function nameInBundle(file: string): string {
  const known = THREADS[relative(ROOT, file)];
  if (known !== undefined) return known;
  if (relative(ROOT, file) === "kernels/kernels.wasm") return "kernels.wasm";
  throw new Error(`${relative(ROOT, file)} is named by its place; the bundle does not know it.`);
}

/** @returns the folders of the packages that were copied. */
function copyNativePackages(): string[] {
  return NATIVE_PACKAGES.map(([name, files]) => {
    const folder = join(modules, name);
    for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
      const path = relative(folder, join(entry.parentPath, entry.name));
      if (!entry.isFile() || !(files.test(path) || path === "package.json")) continue;
      const target = join(PACKAGE, "node_modules", name, path);
      mkdirSync(dirname(target), { recursive: true });
      cpSync(join(folder, path), target);
    }
    return folder;
  });
}

function writeLicenses(folders: readonly string[]): void {
  const texts = folders.toSorted().map((folder) => {
    const { name, version, license } = readJson(join(folder, "package.json"));
    const file = readdirSync(folder).find((each) => /^(licen[cs]e|copying)/i.test(each));
    const text = file === undefined ? "" : `\n${readFileSync(join(folder, file), "utf8").trim()}\n`;
    return `${name} ${version} (${license})\n${text}`;
  });
  writeFileSync(join(PACKAGE, "LICENSES.txt"), texts.join(`\n${"-".repeat(80)}\n\n`));
}

/** A bundle that lacks something says so here, not on somebody's training node. */
function checkItRuns(): void {
  const { status, stderr } = spawnSync(process.execPath, [join(PACKAGE, "companion.mjs"), "--print-config"], {
    encoding: "utf8",
    cwd: PACKAGE,
  });
  if (status !== 0) throw new Error(`The bundled companion does not run:\n${stderr}`);
}

function buildWheel(folder: string): void {
  const python = process.env["CYXCLOUD_PYTHON"] ?? "python3";
  // With the build backend at hand pip needs no network.
  const isAtHand = spawnSync(python, ["-c", "import hatchling"]).status === 0;
  const { status } = spawnSync(
    python,
    [
      "-m",
      "pip",
      "wheel",
      "--quiet",
      "--disable-pip-version-check",
      "--no-deps",
      ...(isAtHand ? ["--no-build-isolation", "--no-index"] : []),
      "--wheel-dir",
      folder,
      join(ROOT, "python"),
    ],
    { stdio: "inherit" },
  );
  if (status !== 0) throw new Error(`${python} -m pip wheel failed.`);
  for (const file of readdirSync(folder)) if (file.endsWith(".whl")) console.log(join(folder, file));
}

interface PackageJson {
  readonly name: string;
  readonly version: string;
  readonly license?: string;
}

function readJson(file: string): PackageJson {
  return JSON.parse(readFileSync(file, "utf8")) as PackageJson;
}
