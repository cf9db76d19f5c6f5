import { blake3 as noble } from "@noble/hashes/blake3.js";
import { describe, expect, test } from "vitest";
import { encodeParameters, parametersHash, type StreamParameters } from "../../core/stream/parameters.ts";
import { concatenatedBatchHash, framedBatchHash, Transcript } from "../../core/stream/transcript.ts";
import { utf8 } from "../../core/text.ts";
import { blake3 } from "./blake3.ts";
import { contentHash } from "./orders.ts";

const hash = (mark: number): Uint8Array => new Uint8Array(32).fill(mark);

const parameters: StreamParameters = {
  datasetId: "6f1c0f7e-7a51-4a4e-9d3e-0d6f3d1c2b1a",
  contentHash,
  schemaHash: hash(9),
  mode: "block",
  seed: -42n,
  block: { blockSize: 341, lanes: 16, blocksPerGroup: 2 },
  batchSize: 32,
  tail: "short",
  filter: { prefix: "train/", globs: ["**/*.png"] },
  viewHash: hash(8),
  batchHash: "framed",
  processingHash: hash(6),
};

const start = { parameters, epoch: 3, rank: 1, worldSize: 4, startIndex: 128 };

/** Integers as the documents write them, spelled out here apart from the code under test. */
const u32 = (value: number): number[] => [0, 8, 16, 24].map((shift) => (value >>> shift) & 0xff);
const u64 = (value: bigint): number[] => [...u32(Number(value & 0xffffffffn)), ...u32(Number(value >> 32n))];
const derive = (context: string, bytes: readonly number[] | Uint8Array): Uint8Array =>
  noble(Uint8Array.from(bytes), { context: utf8(context) });

test("parameters have the documented canonical JSON and hash", () => {
  const text = encodeParameters(parameters);
  expect(text).toBe(
    '{"batch_hash":"framed","batch_size":32,"block_size":341,"blocks_per_group":2,' +
      '"content_hash":"01080f161d242b323940474e555c636a71787f868d949ba2a9b0b7bec5ccd3da",' +
      '"dataset_id":"6f1c0f7e-7a51-4a4e-9d3e-0d6f3d1c2b1a",' +
      '"filter":{"globs":["**/*.png"],"prefix":"train/"},"format":1,"lanes":16,"mode":"block","order":"v1",' +
      `"processing_hash":"${"06".repeat(32)}",` +
      `"schema_hash":"${"09".repeat(32)}","seed":"-42","tail":"short","view_hash":"${"08".repeat(32)}"}`,
  );
  expect(parametersHash(parameters, blake3)).toEqual(
    derive("cyxcloud-datastream 2026-11 stream parameters v1", utf8(text)),
  );
});

test("every parameter counts", () => {
  const changes: Partial<StreamParameters>[] = [
    { datasetId: "6f1c0f7e-7a51-4a4e-9d3e-0d6f3d1c2b1b" },
    { contentHash: hash(1) },
    { schemaHash: hash(1) },
    { mode: "full", block: undefined },
    { seed: 42n },
    { block: { blockSize: 340, lanes: 16, blocksPerGroup: 2 } },
    { block: { blockSize: 341, lanes: 8, blocksPerGroup: 2 } },
    { block: { blockSize: 341, lanes: 16, blocksPerGroup: 1 } },
    { batchSize: 33 },
    { tail: "pad" },
    { filter: { prefix: "train/" } },
    { filter: undefined, viewHash: undefined },
    { viewHash: hash(7) },
    { batchHash: "concatenated" },
    { processingHash: hash(7) },
    { processingHash: undefined },
  ];
  const hashes = [{}, ...changes].map((change) =>
    String(parametersHash({ ...parameters, ...change }, blake3)),
  );
  expect(new Set(hashes).size).toBe(changes.length + 1);
  expect(encodeParameters({ ...parameters, seed: 2n ** 64n - 42n })).toBe(encodeParameters(parameters));
});

describe("the chain", () => {
  test("is the documented one, byte for byte", () => {
    const text =
      `{"epoch":3,"parameters":${encodeParameters(parameters)},` +
      '"rank":1,"start_index":128,"world_size":4}';
    const t0 = derive("cyxcloud-datastream 2026-11 transcript v1 start", utf8(text));
    const transcript = Transcript.start(start, blake3);
    expect(transcript.head).toEqual(t0);

    const far = 2 ** 32 - 1;
    const t1 = derive("cyxcloud-datastream 2026-11 transcript v1 step", [
      ...t0,
      ...u64(0n),
      ...u32(2),
      ...u64(BigInt(far)),
      ...hash(1),
      ...u64(7n),
      ...hash(2),
    ]);
    expect(transcript.advance(0, [far, 7], [hash(1), hash(2)])).toEqual(t1);
    const index = 2n ** 40n + 1n;
    const t2 = derive("cyxcloud-datastream 2026-11 transcript v1 step", [
      ...t1,
      ...u64(index),
      ...u32(1),
      ...u64(0n),
      ...hash(3),
    ]);
    // A shorter batch after a longer one: nothing of the longer one is left in the message.
    expect(transcript.advance(Number(index), Uint32Array.of(0), [hash(3)])).toEqual(t2);
    expect(transcript.head).toEqual(t2);
  });

  test("depends on the segment, and on the order and the borders of batches", () => {
    const heads = [
      start,
      { ...start, epoch: 4 },
      { ...start, rank: 2 },
      { ...start, worldSize: 5 },
      { ...start, startIndex: 0 },
      { ...start, parameters: { ...parameters, seed: 1n } },
    ].map((each) => String(Transcript.start(each, blake3).head));
    expect(new Set(heads).size).toBe(heads.length);

    const run = (batches: readonly (readonly number[])[]): string => {
      const transcript = Transcript.start(start, blake3);
      batches.forEach((items, i) => transcript.advance(i, items, items.map(hash)));
      return String(transcript.head);
    };
    const runs = [[[1, 2], [3]], [[1], [2, 3]], [[2, 1], [3]], [[1, 2, 3]], [[1, 2], [3], []]].map(run);
    expect(new Set(runs).size).toBe(runs.length);
  });

  test("goes on from a stored head", () => {
    const whole = Transcript.start(start, blake3);
    whole.advance(0, [4], [hash(4)]);
    const stored = whole.head;
    const resumed = Transcript.resume(stored, blake3);
    whole.advance(1, [5], [hash(5)]);
    expect(stored).not.toEqual(whole.head);
    expect(resumed.advance(1, [5], [hash(5)])).toEqual(whole.head);
  });

  test("refuses what has no place in it", () => {
    const transcript = Transcript.start(start, blake3);
    expect(() => transcript.advance(0, [1, 2], [hash(1)])).toThrow(RangeError);
    expect(() => transcript.advance(0, [1], [new Uint8Array(31)])).toThrow(RangeError);
    expect(() => Transcript.resume(new Uint8Array(31), blake3)).toThrow(RangeError);
  });
});

describe("batch hashes", () => {
  test("concatenated is BLAKE3 over the items' bytes", () => {
    const items = [utf8("one"), new Uint8Array(0), utf8("three")];
    expect(concatenatedBatchHash(items, blake3)).toEqual(noble(utf8("onethree")));
    expect(concatenatedBatchHash([], blake3)).toEqual(noble(new Uint8Array(0)));
  });

  test("framed commits to index, sizes and hashes", () => {
    const expected = derive("cyxcloud-datastream 2026-11 framed batch v1", [
      ...u64(5n),
      ...u32(2),
      ...u64(3n),
      ...hash(1),
      ...u64(2n ** 33n),
      ...hash(2),
    ]);
    expect(framedBatchHash(5, [3, 2 ** 33], [hash(1), hash(2)], blake3)).toEqual(expected);
    expect(() => framedBatchHash(5, [3], [], blake3)).toThrow(RangeError);
  });
});
