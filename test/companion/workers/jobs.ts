/** Jobs of generated items, as the pipeline makes them. */
import { encode } from "fast-png";
import { parseProcessing } from "../../../core/augment/processing.ts";
import { parseSchema } from "../../../core/dataset/schema.ts";
import { type OutputFormat, outputFormat } from "../../../companion/decode/output-format.ts";
import type { MemoryReference } from "../../../companion/memory/reference.ts";
import { type BatchJob, outputLengths } from "../../../companion/workers/job.ts";
import { loadKernels, type Kernels } from "../../../kernels/index.ts";

export const kernels: Kernels = await loadKernels({ heapBytes: 1 << 20 });

export interface TestItem {
  readonly path: string;
  readonly bytes: Uint8Array;
}

export interface TestJob extends BatchJob {
  readonly output: MemoryReference & { readonly kind: "shared" };
  readonly format: OutputFormat;
}

/** Bytes of the ring before and behind the slot, which must stay as they are. */
export const MARGIN = 128;
export const UNTOUCHED = 0xee;

export function imageItems(count: number, height: number = 12, width: number = 17): TestItem[] {
  return Array.from({ length: count }, (_, i) => {
    const data = Uint8Array.from({ length: height * width * 3 }, (__, j) => (i * 31 + j * 7) ^ (j >> 3));
    return { path: `folder/${i}.png`, bytes: encode({ width, height, data, depth: 8, channels: 3 }) };
  });
}

export function makeJob(
  items: readonly TestItem[],
  schema: unknown,
  processing?: unknown,
  changes: Partial<BatchJob> = {},
): TestJob {
  const steps = processing === undefined ? undefined : parseProcessing(processing);
  const format = outputFormat(parseSchema(schema), steps, items[0] as TestItem);
  let length = 0;
  const offsets = items.map(({ bytes }) => (length += bytes.length + 3) - bytes.length);
  const input = new SharedArrayBuffer(length);
  for (const [i, { bytes }] of items.entries()) new Uint8Array(input).set(bytes, offsets[i]);
  const jobItems = items.map(({ path, bytes }, i) => ({
    offset: offsets[i] as number,
    length: bytes.length,
    hash: kernels.blake3.hash(bytes),
    itemIndex: 1000 + i,
    path,
  }));
  const total = outputLengths({ format, items: jobItems }).reduce((sum, each) => sum + each, 0);
  const buffer = new SharedArrayBuffer(total + 2 * MARGIN);
  new Uint8Array(buffer).fill(UNTOUCHED);
  return {
    input,
    items: jobItems,
    ring: { kind: "shared", buffer, byteOffset: 0, byteLength: buffer.byteLength },
    output: { kind: "shared", buffer, byteOffset: MARGIN, byteLength: total },
    format,
    processing: steps,
    seed: 7n,
    epoch: 2,
    ...changes,
  } as TestJob;
}

/** The slot's bytes. */
export function dataOf({ output }: TestJob): Uint8Array {
  return Uint8Array.from(new Uint8Array(output.buffer, output.byteOffset, output.byteLength));
}

/** Whether all bytes of the ring outside of the slot are as they were. */
export function marginsUntouched({ output }: TestJob): boolean {
  const all = new Uint8Array(output.buffer);
  const outside = [...all.subarray(0, MARGIN), ...all.subarray(MARGIN + output.byteLength)];
  return outside.every((byte) => byte === UNTOUCHED);
}
