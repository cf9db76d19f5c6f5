/** What a stream has to send, worked out from the dataset alone. */
import { batchPositions, totalBatches, type TailPolicy } from "../../core/stream/batches.ts";
import { createOrder, type OrderMode } from "../../core/stream/order.ts";
import type { BlockShape } from "../../core/stream/block-shape.ts";
import type { StreamParameters } from "../../core/stream/parameters.ts";
import { concatenatedBatchHash, framedBatchHash, Transcript } from "../../core/stream/transcript.ts";
import { expect } from "vitest";
import { blake3 } from "../core/blake3.ts";
import type { BatchResponse } from "../../proto/index.ts";
import type { TestDataset } from "./fixture.ts";

export interface ExpectedStream {
  readonly batchSize: number;
  readonly mode?: OrderMode;
  readonly seed?: bigint;
  readonly epoch?: number;
  readonly rank?: number;
  readonly worldSize?: number;
  readonly startIndex?: number;
  readonly tail?: TailPolicy;
  readonly block?: BlockShape;
  readonly batchHash?: "concatenated" | "framed";
  readonly filter?: StreamParameters["filter"];
  readonly view?: Uint32Array;
  readonly viewHash?: Uint8Array;
  readonly processingHash?: Uint8Array;
}

export interface ExpectedBatch {
  readonly indices: number[];
  readonly padded: number;
  readonly head: Uint8Array;
  readonly batchHash: Uint8Array;
}

export function expectedBatches(dataset: TestDataset, stream: ExpectedStream): ExpectedBatch[] {
  const {
    batchSize,
    mode = "sequential",
    seed = 0n,
    epoch = 0,
    rank = 0,
    worldSize = 1,
    startIndex = 0,
  } = stream;
  const {
    tail = "short",
    block,
    batchHash = "concatenated",
    filter,
    view,
    viewHash,
    processingHash,
  } = stream;
  const count = view?.length ?? dataset.files.length;
  const { contentHash, schemaHash } = dataset;
  const order = createOrder({
    mode,
    count,
    contentHash,
    seed,
    epoch,
    ...(block && { block }),
    ...(view && { view }),
  });
  const parameters: StreamParameters = {
    datasetId: dataset.id,
    contentHash,
    schemaHash,
    mode,
    seed,
    block,
    batchSize,
    tail,
    filter,
    viewHash,
    batchHash,
    processingHash,
  };
  const plan = { count, batchSize, worldSize, rank, start: startIndex, tail };
  const transcript = Transcript.start({ parameters, epoch, rank, worldSize, startIndex }, blake3);
  return Array.from({ length: totalBatches(plan) }, (_, index) => {
    const { positions, padded } = batchPositions(plan, index);
    const indices = positions.map((position) => order.itemAt(position));
    const files = indices.map((i) => dataset.files[i] as TestDataset["files"][number]);
    const hashes = files.map(({ hash }) => hash);
    return {
      indices,
      padded,
      head: transcript.advance(index, indices, hashes),
      batchHash:
        batchHash === "framed"
          ? framedBatchHash(
              index,
              files.map(({ bytes }) => bytes.length),
              hashes,
              blake3,
            )
          : concatenatedBatchHash(
              files.map(({ bytes }) => bytes),
              blake3,
            ),
    };
  });
}

/** Compares batches with what a stream has to send from batch `from` on. */
export function expectBatches(
  dataset: TestDataset,
  stream: ExpectedStream,
  batches: readonly BatchResponse[],
  from = 0,
): void {
  const expected = expectedBatches(dataset, stream);
  const total = expected.length;
  batches.forEach((batch, i) => {
    const { indices, padded, head, batchHash } = expected[from + i] as ExpectedBatch;
    expect(Number(batch.batchIndex)).toBe(from + i);
    expect(batch.itemIndices.map(Number)).toEqual(indices);
    batch.items.forEach((item, at) => {
      const file = dataset.files[indices[at] as number] as TestDataset["files"][number];
      if (!Buffer.from(item).equals(file.bytes))
        throw new Error(`batch ${from + i}: wrong bytes of ${file.path}`);
      if (!Buffer.from(batch.itemHashes[at] as Uint8Array).equals(file.hash))
        throw new Error("wrong item hash");
    });
    expect(batch.items).toHaveLength(indices.length);
    expect(Buffer.from(batch.batchHash).equals(batchHash)).toBe(true);
    expect(Buffer.from(batch.transcriptHead).equals(head)).toBe(true);
    expect(batch.paddedItems).toBe(padded);
    expect(Number(batch.totalBatches)).toBe(total);
    expect(batch.isLast).toBe(from + i === total - 1);
    expect(batch.epoch).toBe(stream.epoch ?? 0);
    expect(batch.worldSize).toBe(stream.worldSize ?? 1);
    expect(Number(batch.startIndex)).toBe(stream.startIndex ?? 0);
  });
}
