/** What `kernels.wasm` exports (see kernels/assembly/index.ts). Pointers and lengths are in bytes. */
export interface KernelExports {
  readonly heapBase: () => number;
  readonly hash: (
    data: number,
    length: number,
    key: number,
    flags: number,
    firstChunkLow: number,
    firstChunkHigh: number,
    root: number,
    out: number,
  ) => void;
  readonly parent: (children: number, key: number, flags: number, out: number) => void;
  readonly stateInit: (
    state: number,
    key: number,
    flags: number,
    firstChunkLow: number,
    firstChunkHigh: number,
  ) => void;
  readonly stateUpdate: (state: number, data: number, length: number) => void;
  readonly stateFinish: (state: number, root: number, out: number) => void;
  readonly hashMany: (items: number, count: number, key: number, flags: number, out: number) => void;
  readonly rsEncode: (pointers: number, k: number, m: number, length: number) => void;
  readonly rsVerify: (pointers: number, k: number, m: number, length: number) => number;
  readonly rsCombine: (pointers: number, tables: number, k: number, outputs: number, length: number) => void;
  readonly resample: (table: number) => void;
  readonly lookUp: (table: number) => void;
}

/** An instance with its memory, which never grows, so that views of it stay valid. */
export interface KernelInstance {
  readonly exports: KernelExports;
  readonly memory: WebAssembly.Memory;
  readonly bytes: Uint8Array<ArrayBuffer>;
}
