import { readFile } from "node:fs/promises";

let compiled: Promise<WebAssembly.Module> | undefined;

/** The kernels compiled from the file beside this one; once per process. */
export function kernelModule(): Promise<WebAssembly.Module> {
  compiled ??= readFile(new URL("./kernels.wasm", import.meta.url)).then((binary) =>
    WebAssembly.compile(binary),
  );
  return compiled;
}
