import { BATCH_MAX_BYTES } from "../../core/limits.ts";
import { elementBytes } from "../tensor.ts";
import type { OutputFormat } from "../decode/output-format.ts";
import type { TensorDescription } from "../handoff/messages.ts";

/** Tensors begin at multiples of this, as numerical libraries like it. */
const TENSOR_ALIGNMENT_BYTES = 64;
/** Data begins where a device's allocation would. */
const DATA_ALIGNMENT_BYTES = 256;
const INDEX_BYTES = 8;
const LABEL_BYTES = 4;

/** What a slot has to hold. */
export interface BatchShape {
  readonly format: OutputFormat;
  readonly batchSize: number;
  readonly hasLabels: boolean;
  /** Size of the dataset's largest item; for items that stay bytes. */
  readonly maxItemBytes: number;
}

/**
 * Where the tensors of a batch lie in a slot: indices, labels and ends at the beginning, each with room for a full batch, then
 * data. Only data differs in length from batch to batch, so what a batch takes is one run of bytes from the slot's
 * beginning.
 */
export class SlotLayout {
  readonly #shape: BatchShape;
  readonly #labels: number;
  readonly #ends: number;
  /** Where data begins, and how many bytes it may have. */
  readonly dataOffset: number;
  readonly dataCapacity: number;

  constructor(shape: BatchShape) {
    const { format, batchSize } = shape;
    this.#shape = shape;
    this.#labels = aligned(batchSize * INDEX_BYTES, TENSOR_ALIGNMENT_BYTES);
    this.#ends =
      this.#labels + (shape.hasLabels ? aligned(batchSize * LABEL_BYTES, TENSOR_ALIGNMENT_BYTES) : 0);
    const end = this.#ends + (format.kind === "bytes" ? batchSize * INDEX_BYTES : 0);
    this.dataOffset = aligned(end, DATA_ALIGNMENT_BYTES);
    this.dataCapacity =
      format.kind === "bytes"
        ? Math.min(batchSize * shape.maxItemBytes, BATCH_MAX_BYTES)
        : batchSize * format.itemBytes;
  }

  /** Of a slot for full batches. */
  get byteLength(): number {
    return this.dataOffset + this.dataCapacity;
  }

  /** Whether a batch of these files fits: what decodes to a tensor does, whatever its size as a file. */
  holds(files: readonly { readonly size: number }[]): boolean {
    if (this.#shape.format.kind !== "bytes") return files.length <= this.#shape.batchSize;
    return files.reduce((sum, { size }) => sum + size, 0) <= this.dataCapacity;
  }

  /** @param dataBytes of the batch; what `tensors` calls data. */
  tensors(count: number, dataBytes: number): TensorDescription[] {
    const { format, hasLabels } = this.#shape;
    const isBytes = format.kind === "bytes";
    const tensors: TensorDescription[] = [
      {
        name: "data",
        dtype: format.dtype,
        shape: isBytes ? [dataBytes / elementBytes(format.dtype)] : [count, ...format.shape],
        offset: this.dataOffset,
      },
    ];
    if (isBytes) tensors.push({ name: "ends", dtype: "uint64", shape: [count], offset: this.#ends });
    if (hasLabels) tensors.push({ name: "labels", dtype: "int32", shape: [count], offset: this.#labels });
    tensors.push({ name: "indices", dtype: "uint64", shape: [count], offset: 0 });
    return tensors;
  }

  /** Writes what is not data. @param ends only for items that stay bytes. */
  write(
    slot: Uint8Array,
    {
      indices,
      labels,
      ends,
    }: { indices: readonly number[]; labels: readonly number[] | undefined; ends: readonly number[] },
  ): void {
    const words = (offset: number): BigUint64Array =>
      new BigUint64Array(slot.buffer, slot.byteOffset + offset, indices.length);
    words(0).set(indices.map(BigInt));
    if (labels !== undefined)
      new Int32Array(slot.buffer, slot.byteOffset + this.#labels, labels.length).set(labels);
    if (this.#shape.format.kind === "bytes") words(this.#ends).set(ends.map(BigInt));
  }
}

function aligned(bytes: number, unit: number): number {
  return Math.ceil(bytes / unit) * unit;
}
