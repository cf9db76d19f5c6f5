/** Bundles a Worker as `wrangler deploy` does: one ES module, WebAssembly beside it, platform modules left alone. */
import { basename } from "node:path";
import { readFile } from "node:fs/promises";
import { build, type Plugin } from "esbuild";

export type WorkerModule =
  | { readonly type: "ESModule"; readonly path: string; readonly contents: string }
  | { readonly type: "CompiledWasm"; readonly path: string; readonly contents: Uint8Array<ArrayBuffer> };

/**
 * @param entry absolute path of the module with the Worker's exports, which becomes the first module.
 */
export async function bundleWorker(entry: string): Promise<WorkerModule[]> {
  const wasm = new Map<string, string>();
  const result = await build({
    entryPoints: [entry],
    outfile: "worker.js",
    bundle: true,
    write: false,
    format: "esm",
    target: "es2024",
    platform: "neutral",
    mainFields: ["browser", "module", "main"],
    conditions: ["workerd", "worker", "browser"],
    external: ["cloudflare:*", "node:*"],
    define: { "process.env.NODE_ENV": '"production"' },
    logLevel: "silent",
    plugins: [collectWasm(wasm)],
  });
  const contents = result.outputFiles[0]?.text ?? "";
  const modules = [...wasm].map(async ([path, file]) => {
    return {
      type: "CompiledWasm",
      path: `/${path}`,
      contents: new Uint8Array(await readFile(file)),
    } as const;
  });
  return [{ type: "ESModule", path: "worker.js", contents }, ...(await Promise.all(modules))];
}

/** Imports of `*.wasm` stay imports, of a module named after the file. */
function collectWasm(found: Map<string, string>): Plugin {
  return {
    name: "wasm-modules",
    setup(context) {
      context.onResolve({ filter: /\.wasm$/ }, async ({ path, resolveDir, kind, pluginData }) => {
        if (pluginData === "wasm-modules") return undefined;
        const resolved = await context.resolve(path, { resolveDir, kind, pluginData: "wasm-modules" });
        if (resolved.errors.length > 0) return { errors: resolved.errors };
        const name = basename(resolved.path);
        if ((found.get(name) ?? resolved.path) !== resolved.path) {
          return { errors: [{ text: `Two WebAssembly modules are called ${name}.` }] };
        }
        found.set(name, resolved.path);
        return { path: `./${name}`, external: true };
      });
    },
  };
}
