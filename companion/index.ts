/** Verified batches as tensors, for training loops. */
export { streamTensors, type TensorBatch, type TensorStreamOptions } from "./tensor-stream.ts";
export { readKnownKeys } from "./known-keys-file.ts";
export { FilePinStore } from "./pin-file.ts";
export type { ItemFormat, TensorArray, TensorLayout } from "./tensor.ts";
