import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import fc from "fast-check";
import { expect, test } from "vitest";
import { BatchMessage, ENVELOPE_BYTES } from "../../functions/datastream/stream/message.ts";
import { BatchResponseSchema } from "../../proto/index.ts";

const number = fc.oneof(
  fc.constantFrom(0, 1, 127, 128, 16_383, 16_384, 2 ** 31, 2 ** 32, Number.MAX_SAFE_INTEGER),
  fc.maxSafeNat(),
);
const uint32 = fc.oneof(fc.constantFrom(0, 1, 127, 128, 2 ** 32 - 1), fc.nat(0xffff_ffff));
const hash = fc.uint8Array({ minLength: 32, maxLength: 32 });
const item = fc.record({
  bytes: fc.oneof(
    fc.uint8Array({ maxLength: 300 }),
    fc.constantFrom(0, 127, 128, 16_383, 16_384).map((length) => new Uint8Array(length).fill(7)),
  ),
  hash,
  index: number,
});
const batch = fc.record({
  batchIndex: number,
  items: fc.array(item, { maxLength: 20 }),
  batchHash: hash,
  totalBatches: number,
  isLast: fc.boolean(),
  streamId: fc.string({ unit: "grapheme", maxLength: 60 }),
  epoch: uint32,
  transcriptHead: hash,
  paddedItems: uint32,
  lease: number,
  startIndex: number,
  worldSize: uint32,
});

test("the hot path writes what the generated code writes", () => {
  fc.assert(
    fc.property(batch, ({ items, batchHash, transcriptHead, ...fields }) => {
      const generated = toBinary(
        BatchResponseSchema,
        create(BatchResponseSchema, {
          ...fields,
          batchIndex: BigInt(fields.batchIndex),
          totalBatches: BigInt(fields.totalBatches),
          lease: BigInt(fields.lease),
          startIndex: BigInt(fields.startIndex),
          items: items.map(({ bytes }) => bytes),
          itemHashes: items.map((each) => each.hash),
          itemIndices: items.map(({ index }) => BigInt(index)),
          batchHash,
          transcriptHead,
        }),
      );
      const message = new BatchMessage({
        ...fields,
        streamId: new TextEncoder().encode(fields.streamId),
        sizes: items.map(({ bytes }) => bytes.length),
        itemHashes: items.map((each) => each.hash),
        itemIndices: items.map(({ index }) => index),
      });
      // What a slot held before must not shine through.
      const slot = new Uint8Array(message.byteLength + 8).fill(0xa5);
      items.forEach(({ bytes }, i) => message.itemView(slot, i).set(bytes));
      message.write(slot, batchHash, transcriptHead);

      expect(message.byteLength).toBe(ENVELOPE_BYTES + generated.length);
      expect(slot[0]).toBe(0);
      expect(new DataView(slot.buffer).getUint32(1)).toBe(generated.length);
      expect(Buffer.from(slot.subarray(ENVELOPE_BYTES, message.byteLength)).equals(generated)).toBe(true);
      expect([...slot.subarray(message.byteLength)]).toEqual(Array<number>(8).fill(0xa5));
      expect(fromBinary(BatchResponseSchema, generated).items).toHaveLength(items.length);
    }),
    { numRuns: 500 },
  );
});
