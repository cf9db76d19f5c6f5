// The one entry of kernels.wasm. Everything works on pointers into an imported memory;
// the TypeScript binding in kernels/ decides what lies where above `heapBase`.
export { hash, parent } from "./blake3/tree";
export { stateInit, stateUpdate, stateFinish } from "./blake3/state";
export { hashMany } from "./blake3/many";
export { rsEncode, rsVerify } from "./reed-solomon/encode";
export { rsCombine } from "./reed-solomon/combine";
export { lookUp } from "./image/look-up";
export { resample } from "./image/resample";

/** First byte that the kernels' own tables and scratch areas leave free. */
export function heapBase(): usize {
  return __heap_base;
}
