import { toBinary } from "@bufbuild/protobuf";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { readBatchMessage } from "../../../companion/receive/batch-message.ts";
import { concatBytes } from "../../../core/bytes.ts";
import { DataStreamError } from "../../../core/errors.ts";
import { BATCH_MAX_ITEMS } from "../../../core/limits.ts";
import { BatchResponseSchema } from "../../../proto/index.ts";
import { anyBatch, detached } from "./wire.ts";

/** In shared memory, with other bytes on both sides that must not be read. */
function shared(bytes: Uint8Array): Uint8Array<SharedArrayBuffer> {
  const buffer = new SharedArrayBuffer(bytes.length + 32);
  new Uint8Array(buffer).fill(0xff);
  const view = new Uint8Array(buffer, 16, bytes.length);
  view.set(bytes);
  return view;
}

test("it reads what the general writer writes, with items as views", () => {
  fc.assert(
    fc.property(anyBatch, (batch) => {
      const bytes = shared(toBinary(BatchResponseSchema, batch));
      const message = readBatchMessage(bytes);
      expect(detached(message)).toEqual(batch);
      for (const view of [...message.items, ...message.itemHashes]) expect(view.buffer).toBe(bytes.buffer);
      for (const copy of [message.batchHash, message.transcriptHead])
        expect(copy.buffer).toBeInstanceOf(ArrayBuffer);
    }),
  );
});

/** Fields that a later gateway may add, groups of old writers among them. */
const unknownField: fc.Arbitrary<Uint8Array> = fc
  .record({
    number: fc.integer({ min: 15, max: 2 ** 29 - 1 }),
    type: fc.constantFrom(
      WireType.Varint,
      WireType.Bit64,
      WireType.LengthDelimited,
      WireType.StartGroup,
      WireType.Bit32,
    ),
    value: fc.nat(),
  })
  .map(({ number, type, value }) => {
    const writer = new BinaryWriter().tag(number, type);
    if (type === WireType.Varint) writer.uint64(value);
    else if (type === WireType.Bit64) writer.fixed64(value);
    else if (type === WireType.LengthDelimited) writer.bytes(new Uint8Array(value % 50));
    else if (type === WireType.Bit32) writer.fixed32(value % 1000);
    else writer.tag(1, WireType.Varint).uint32(value).tag(number, WireType.EndGroup);
    return writer.finish();
  });

test("unknown fields are skipped, unpacked numbers are taken, the last of a repeated scalar counts", () => {
  fc.assert(
    fc.property(anyBatch, anyBatch, fc.array(unknownField), (first, batch, unknown) => {
      const indices = new BinaryWriter();
      for (const index of batch.itemIndices) indices.tag(7, WireType.Varint).uint64(index);
      const packed = toBinary(BatchResponseSchema, { ...batch, itemIndices: [] });
      const scalars = toBinary(BatchResponseSchema, {
        ...first,
        items: [],
        itemHashes: [],
        itemIndices: [],
        // Only what the second message sets again.
        batchIndex: batch.batchIndex === 0n ? 0n : first.batchIndex,
        batchHash: batch.batchHash.length === 0 ? batch.batchHash : first.batchHash,
        totalBatches: batch.totalBatches === 0n ? 0n : first.totalBatches,
        isLast: batch.isLast && first.isLast,
        streamId: batch.streamId === "" ? "" : first.streamId,
        epoch: batch.epoch === 0 ? 0 : first.epoch,
        transcriptHead: batch.transcriptHead.length === 0 ? batch.transcriptHead : first.transcriptHead,
        paddedItems: batch.paddedItems === 0 ? 0 : first.paddedItems,
        lease: batch.lease === 0n ? 0n : first.lease,
        startIndex: batch.startIndex === 0n ? 0n : first.startIndex,
        worldSize: batch.worldSize === 0 ? 0 : first.worldSize,
      });
      const bytes = concatBytes([...unknown, scalars, packed, ...unknown, indices.finish()]);
      expect(detached(readBatchMessage(shared(bytes)))).toEqual(batch);
    }),
  );
});

describe("what is no message is refused as data_loss, and nothing beyond it is read", () => {
  const readOrRefuse = (bytes: Uint8Array): void => {
    const view = shared(bytes);
    try {
      const message = readBatchMessage(view);
      for (const item of [...message.items, ...message.itemHashes]) {
        expect(item.byteOffset).toBeGreaterThanOrEqual(view.byteOffset);
        expect(item.byteOffset + item.byteLength).toBeLessThanOrEqual(view.byteOffset + view.byteLength);
      }
    } catch (error) {
      expect(error).toBeInstanceOf(DataStreamError);
      expect(error).toMatchObject({ code: "data_loss" });
    }
  };

  test("any bytes", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => readOrRefuse(bytes)),
      { numRuns: 5_000 },
    );
  });

  test("a message with some bytes changed, or cut short", () => {
    const change = fc.record({ at: fc.nat(), value: fc.nat({ max: 255 }) });
    fc.assert(
      fc.property(anyBatch, fc.array(change, { maxLength: 4 }), fc.nat(), (batch, changes, length) => {
        const bytes = toBinary(BatchResponseSchema, batch);
        for (const { at, value } of changes) if (bytes.length > 0) bytes[at % bytes.length] = value;
        readOrRefuse(bytes);
        readOrRefuse(bytes.subarray(0, length % (bytes.length + 1)));
      }),
      { numRuns: 2_000 },
    );
  });

  test.each([
    ["field number 0", [0x00, 0x00]],
    ["a varint without end", [0x08, ...Array.from({ length: 11 }, () => 0xff)]],
    ["a length beyond the end", [0x12, 0x05, 1, 2]],
    ["a known field of another wire type", [0x10, 0x01]],
    ["the end of a group that did not begin", [0x7c]],
    ["a group that does not end", [0x7b, 0x08, 0x01]],
    ["groups inside groups without end", Array.from({ length: 500 }, () => 0x7b)],
    ["a packed number beyond its field", [0x3a, 0x01, 0xff, 0x01]],
    ["text that is no UTF-8", [0x42, 0x01, 0xff]],
    ["a hash of 65 bytes", [0x22, 65, ...Array.from({ length: 65 }, () => 0)]],
  ])("%s", (_name, bytes) => {
    expect(() => readBatchMessage(Uint8Array.from(bytes))).toThrow(DataStreamError);
  });

  test("more items than a batch may have", () => {
    const bytes = new Uint8Array(2 * BATCH_MAX_ITEMS + 2).map((_, i) => (i % 2 === 0 ? 0x12 : 0));
    expect(readBatchMessage(bytes.subarray(2)).items).toHaveLength(BATCH_MAX_ITEMS);
    expect(() => readBatchMessage(bytes)).toThrow(DataStreamError);
  });
});
