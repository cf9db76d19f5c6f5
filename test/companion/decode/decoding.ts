/** Decodes one item as a thread of the companion does. */
import { type Processing, parseProcessing } from "../../../core/augment/processing.ts";
import type { DrawKey } from "../../../core/augment/random.ts";
import { parseSchema } from "../../../core/dataset/schema.ts";
import { DECODE_HEAP_BYTES } from "../../../core/limits.ts";
import { type ItemDecoder, itemDecoder } from "../../../companion/decode/item-decoder.ts";
import type { EncodedItem } from "../../../companion/decode/item.ts";
import { type OutputFormat, outputFormat } from "../../../companion/decode/output-format.ts";
import { loadKernels, type Kernels } from "../../../kernels/index.ts";

export const kernels: Kernels = await loadKernels({ heapBytes: DECODE_HEAP_BYTES });

export interface Decoded {
  readonly format: OutputFormat;
  readonly data: Uint8Array<ArrayBuffer>;
}

const NO_KEY: DrawKey = { seed: 0n, epoch: 0, itemIndex: 0 };
const GUARD_BYTES = 64;
const GUARD = 0x5a;

/** Decodes `items`, the first of which fixes the format, and checks that nothing beside its bytes is written. */
export function decodeAll(
  schema: unknown,
  items: readonly EncodedItem[],
  processing?: unknown,
  key: DrawKey = NO_KEY,
): Decoded[] {
  const steps: Processing | undefined = processing === undefined ? undefined : parseProcessing(processing);
  const format = outputFormat(parseSchema(schema), steps, items[0] as EncodedItem);
  const free = kernels.heap.freeBytes;
  const decoder = itemDecoder(format, steps, kernels);
  const kept = kernels.heap.freeBytes;
  const outcomes = items.map((item) => settled(() => decodeOne(decoder, format, item, key)));
  if (kernels.heap.freeBytes !== kept) throw new RangeError("A decoder kept memory of an item.");
  decoder.dispose();
  if (kernels.heap.freeBytes !== free) throw new RangeError("A decoder kept memory of its own.");
  return outcomes.map((outcome) => outcome());
}

/** Decodes to the middle of shared memory, as in the companion, and looks whether anything else changed. */
function decodeOne(decoder: ItemDecoder, format: OutputFormat, item: EncodedItem, key: DrawKey): Decoded {
  const length = format.kind === "bytes" ? item.bytes.length : format.itemBytes;
  const all = new Uint8Array(new SharedArrayBuffer(length + 2 * GUARD_BYTES)).fill(GUARD);
  const into = all.subarray(GUARD_BYTES, GUARD_BYTES + length);
  const outcome = settled(() => decoder.decode(inShared(item), key, into));
  const outside = [...all.subarray(0, GUARD_BYTES), ...all.subarray(GUARD_BYTES + length)];
  if (outside.some((byte) => byte !== GUARD)) throw new RangeError("A decoder wrote outside.");
  outcome();
  return { format, data: Uint8Array.from(into) };
}

/** Runs now; what it returns or throws comes out when the result is called. */
function settled<T>(action: () => T): () => T {
  try {
    const value = action();
    return () => value;
  } catch (error) {
    return () => {
      throw error;
    };
  }
}

export function decode(schema: unknown, bytes: Uint8Array, processing?: unknown, key?: DrawKey): Decoded {
  return decodeAll(schema, [{ path: "folder/item", bytes }], processing, key)[0] as Decoded;
}

/** As received: somewhere in shared memory. */
function inShared({ path, bytes }: EncodedItem): EncodedItem {
  const shared = new Uint8Array(new SharedArrayBuffer(bytes.length + 10)).subarray(7, 7 + bytes.length);
  shared.set(bytes);
  return { path, bytes: shared };
}
