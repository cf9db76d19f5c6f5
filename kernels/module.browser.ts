let compiled: Promise<WebAssembly.Module> | undefined;

/** The kernels compiled while they download; once per page. The server must send `application/wasm`. */
export function kernelModule(): Promise<WebAssembly.Module> {
  compiled ??= WebAssembly.compileStreaming(fetch(new URL("./kernels.wasm", import.meta.url)));
  return compiled;
}
