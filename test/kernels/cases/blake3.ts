import { blake3 as oracle } from "@noble/hashes/blake3.js";
import fc from "fast-check";
import type { Kernels } from "../../../kernels/index.ts";
import vectors from "../../vectors/blake3/test_vectors.json" with { type: "json" };
import { equal, equalBytes, hex, noise, refused } from "../check.ts";
import type { KernelCase } from "./case.ts";

/** As the file's own comment says. */
const VECTOR_CONTEXT = "BLAKE3 2019-12-27 16:29:52 test vectors context";
const LONGEST = 400_000;
const text = new TextEncoder();
const material = noise(LONGEST, 1);

/** Lengths around every edge of the tree, and any others. */
const length = fc.oneof(
  fc.integer({ min: 0, max: 5_000 }),
  fc.integer({ min: 0, max: 40_000 }),
  fc
    .tuple(fc.integer({ min: 0, max: 130 }), fc.constantFrom(-1, 0, 1, 63, 64, 65))
    .map(([chunks, more]) => Math.max(0, chunks * 1024 + more)),
);
const bytes = fc
  .tuple(length, fc.integer({ min: 0, max: 1_000 }))
  .map(([size, from]) => material.subarray(from, from + size));

function vectorInput(size: number): Uint8Array {
  return Uint8Array.from({ length: size }, (_, i) => i % 251);
}

/** Calls `use` with a copy of `data` in kernel memory, at an address that is `skew` past an aligned one. */
function inMemory<T>(kernels: Kernels, data: Uint8Array, skew: number, use: (view: Uint8Array) => T): T {
  const region = kernels.heap.tryAllocate(data.length + skew);
  if (region === undefined) throw new Error("the test heap is full");
  try {
    const view = region.view.subarray(skew);
    view.set(data);
    return use(view);
  } finally {
    region.free();
  }
}

/** Root of a file, composed by hand from chaining values of aligned subtrees of `leafBytes`. */
function composed(
  kernels: Kernels,
  data: Uint8Array,
  offset: number,
  leafBytes: number,
  isRoot: boolean,
): Uint8Array {
  if (data.length <= leafBytes) return kernels.blake3.subtree(data, offset);
  let left = leafBytes;
  while (left * 2 < data.length) left *= 2;
  return kernels.blake3.parent(
    composed(kernels, data.subarray(0, left), offset, leafBytes, false),
    composed(kernels, data.subarray(left), offset + left, leafBytes, false),
    isRoot,
  );
}

export const blake3Cases: readonly KernelCase[] = [
  {
    name: "official vectors: hash, derive_key, incremental, in place",
    run(kernels) {
      equal(vectors.cases.length > 20, true, "the file of vectors is complete");
      for (const { input_len: size, hash, derive_key: derived } of vectors.cases) {
        const input = vectorInput(size);
        equal(hex(kernels.blake3.hash(input)), hash.slice(0, 64), `hash of ${size}`);
        const key = kernels.blake3.deriveKey(VECTOR_CONTEXT, input);
        equal(hex(key), derived.slice(0, 64), `derive_key of ${size}`);
        const hasher = kernels.blake3.incremental();
        for (let at = 0; at < size; at += 1_000) hasher.update(input.subarray(at, at + 1_000));
        equal(hex(hasher.digest()), hash.slice(0, 64), `incremental hash of ${size}`);
        inMemory(kernels, input, 3, (view) => {
          equal(hex(kernels.blake3.hash(view)), hash.slice(0, 64), `hash in place of ${size}`);
          equal(hex(kernels.blake3At(view.byteOffset, size)), hash.slice(0, 64), `blake3At of ${size}`);
        });
      }
    },
  },
  {
    name: "random lengths equal @noble/hashes, copied in and in place",
    run(kernels) {
      fc.assert(
        fc.property(bytes, fc.integer({ min: 0, max: 70 }), (data, skew) => {
          const expected = oracle(data);
          equalBytes(kernels.blake3.hash(data), expected, `hash of ${data.length}`);
          inMemory(kernels, data, skew, (view) =>
            equalBytes(kernels.blake3.hash(view), expected, `hash in place of ${data.length}`),
          );
        }),
        { numRuns: 150 },
      );
    },
  },
  {
    name: "inputs above one group and above the staging area equal @noble/hashes",
    run(kernels) {
      for (const size of [131_071, 131_072, 131_073, 132_097, 262_144, 262_145, 393_216, LONGEST]) {
        const data = material.subarray(0, size);
        const expected = oracle(data);
        equalBytes(kernels.blake3.hash(data), expected, `hash of ${size}`);
        inMemory(kernels, data, 1, (view) =>
          equalBytes(kernels.blake3.hash(view), expected, `hash in place of ${size}`),
        );
      }
    },
  },
  {
    name: "derive_key equals @noble/hashes for many contexts",
    run(kernels) {
      fc.assert(
        fc.property(fc.string({ maxLength: 200, unit: "grapheme" }), bytes, (context, data) => {
          const expected = oracle(data, { context: text.encode(context) });
          equalBytes(kernels.blake3.deriveKey(context, data), expected, "first");
          equalBytes(kernels.blake3.deriveKey(context, data), expected, "with the context's key cached");
        }),
        { numRuns: 100 },
      );
      equalBytes(kernels.blake3.hash(material), oracle(material), "a plain hash afterwards");
    },
  },
  {
    name: "incremental hashes do not depend on how the input is split",
    run(kernels) {
      const splits = fc.array(
        fc.oneof(fc.integer({ min: 0, max: 3_000 }), fc.constantFrom(1024, 4096, 65_536)),
        {
          maxLength: 30,
        },
      );
      fc.assert(
        fc.property(splits, fc.boolean(), (sizes, inPlace) => {
          const total = Math.min(
            LONGEST,
            sizes.reduce((sum, size) => sum + size, 0),
          );
          const data = material.subarray(0, total);
          const feed = (view: Uint8Array): Uint8Array => {
            const hasher = kernels.blake3.incremental();
            let at = 0;
            for (const size of sizes) {
              hasher.update(view.subarray(at, at + size));
              at += size;
            }
            return hasher.digest();
          };
          const digest = inPlace ? inMemory(kernels, data, 0, feed) : feed(data);
          equalBytes(digest, oracle(data), sizes.join());
        }),
        { numRuns: 80 },
      );
    },
  },
  {
    name: "any number of incremental hashes at once, finished or given up",
    run(kernels) {
      const before = kernels.heap.freeBytes;
      const hashers = Array.from({ length: 100 }, () => kernels.blake3.incremental());
      const sizes = hashers.map((_, i) => 100 + 137 * i);
      for (let round = 0; round < 3; round++) {
        hashers.forEach((hasher, i) => {
          const size = sizes[i] as number;
          hasher.update(material.subarray(i + round * size, i + (round + 1) * size));
        });
      }
      hashers.forEach((hasher, i) => {
        if (i % 3 === 0) hasher.dispose();
        else
          equalBytes(
            hasher.digest(),
            oracle(material.subarray(i, i + 3 * (sizes[i] as number))),
            `hasher ${i}`,
          );
        refused(() => hasher.update(material), "internal", "an update after the end");
        refused(() => hasher.digest(), "internal", "a digest after the end");
        hasher.dispose();
      });
      equal(kernels.heap.freeBytes, before, "free bytes of the heap");
    },
  },
  {
    name: "digests stay as they were through later calls",
    run(kernels) {
      const first = kernels.blake3.hash(material.subarray(0, 10));
      const hasher = kernels.blake3.incremental();
      hasher.update(material.subarray(0, 10));
      const second = hasher.digest();
      kernels.blake3.hash(material);
      equalBytes(first, oracle(material.subarray(0, 10)), "one-shot");
      equalBytes(second, first, "incremental");
    },
  },
  {
    name: "subtrees and parents compose to the hash of the whole",
    run(kernels) {
      for (const leafBytes of [1024, 2048, 16_384, 131_072]) {
        for (const size of [1025, 2048, 3073, 16_385, 100_000, 262_144, 300_001, LONGEST]) {
          if (size <= leafBytes) continue;
          const data = material.subarray(0, size);
          const what = `${size} bytes in leaves of ${leafBytes}`;
          equalBytes(composed(kernels, data, 0, leafBytes, true), oracle(data), what);
          inMemory(kernels, data, 5, (view) =>
            equalBytes(composed(kernels, view, 0, leafBytes, true), oracle(data), `${what}, in place`),
          );
        }
      }
    },
  },
  {
    name: "subtrees far into a file count their chunks in 64 bits",
    run(kernels) {
      // A subtree of 2^43 zero bytes is out of reach, so compare with an own computation of one chunk.
      const chunk = material.subarray(0, 1024);
      const near = kernels.blake3.subtree(chunk, 1024);
      for (const offset of [2 ** 32 * 1024, 2 ** 42 + 1024, 2 ** 52]) {
        const far = kernels.blake3.subtree(chunk, offset);
        equalBytes(far, chunkValue(chunk, offset / 1024), `chunk at ${offset}`);
        equal(hex(far) === hex(near), false, "the counter matters");
        const pair = kernels.blake3.subtree(material.subarray(0, 2048), offset - (offset % 2048));
        const first = (offset - (offset % 2048)) / 1024;
        const joined = kernels.blake3.parent(
          chunkValue(chunk, first),
          chunkValue(material.subarray(1024, 2048), first + 1),
          false,
        );
        equalBytes(pair, joined, `pair at ${offset}`);
      }
    },
  },
  {
    name: "subtrees that no tree has are refused",
    run(kernels) {
      const { blake3 } = kernels;
      for (const offset of [1, 1023, -1024, 0.5, Number.NaN, 2 ** 60]) {
        refused(
          () => blake3.subtree(material.subarray(0, 64), offset),
          "invalid_argument",
          `offset ${offset}`,
        );
      }
      refused(() => blake3.subtree(material.subarray(0, 1025), 1024), "invalid_argument", "1025 at 1024");
      refused(() => blake3.subtree(material.subarray(0, 4097), 12_288), "invalid_argument", "4097 at 12288");
      refused(
        () => blake3.parent(material.subarray(0, 31), material.subarray(0, 32), true),
        "invalid_argument",
        "left",
      );
      refused(
        () => blake3.parent(material.subarray(0, 32), material.subarray(0, 33), true),
        "invalid_argument",
        "right",
      );
    },
  },
  {
    name: "no byte beyond the input is read, even at the end of memory",
    run(kernels) {
      const end = kernels.bytes.byteLength;
      for (const size of [0, 1, 63, 64, 65, 1023, 1024, 1025, 2049, 5000, 8191, 9000, 140_000]) {
        const region = kernels.heap.tryAllocate(kernels.heap.largestFreeBytes);
        if (region === undefined) throw new Error("the test heap is full");
        kernels.bytes.set(material.subarray(0, size), end - size);
        equalBytes(
          kernels.blake3At(end - size, size),
          oracle(material.subarray(0, size)),
          `last ${size} bytes`,
        );
        const many = kernels.hashMany(
          [end - size, end, end - Math.min(size, 7)],
          [size, 0, Math.min(size, 7)],
        );
        equalBytes(
          many.subarray(0, 32),
          oracle(material.subarray(0, size)),
          `last ${size} bytes among others`,
        );
        equalBytes(many.subarray(32, 64), oracle(new Uint8Array(0)), "nothing at the very end");
        region.free();
      }
    },
  },
  {
    name: "many items at once equal one by one, for equal and mixed lengths",
    run(kernels) {
      const lengths = fc
        .array(fc.tuple(length, fc.integer({ min: 1, max: 9 })), { maxLength: 12 })
        .map((runs) => runs.flatMap(([size, times]) => Array.from({ length: times }, () => size)));
      const region = kernels.heap.tryAllocate(LONGEST);
      if (region === undefined) throw new Error("the test heap is full");
      region.view.set(material);
      fc.assert(
        fc.property(lengths, (sizes) => {
          const from = sizes.map((size, i) => Math.min(i * 131, LONGEST - size));
          const digests = kernels.hashMany(
            from.map((at) => region.pointer + at),
            sizes,
          );
          equal(digests.length, sizes.length * 32, "bytes of digests");
          sizes.forEach((size, i) => {
            const at = from[i] as number;
            const expected = kernels.blake3.hash(material.subarray(at, at + size));
            equalBytes(digests.subarray(i * 32, i * 32 + 32), expected, `item ${i} of ${size}`);
          });
        }),
        { numRuns: 60 },
      );
      for (const size of [0, 1, 64, 1024, 1025, 3_000, 3_072, 32_768, 32_769]) {
        const pointers = Array.from({ length: 300 }, (_, i) => region.pointer + i);
        const into = new Uint8Array(300 * 32 + 5);
        kernels.hashMany(pointers, new Uint32Array(300).fill(size), into);
        for (const i of [0, 3, 127, 128, 299]) {
          const expected = oracle(material.subarray(i, i + size));
          equalBytes(into.subarray(i * 32, i * 32 + 32), expected, `item ${i} of 300 x ${size}`);
        }
        equal(hex(into.subarray(9_600)), "0000000000", "what follows the digests");
      }
      refused(() => kernels.hashMany([0], []), "invalid_argument", "fewer lengths");
      refused(() => kernels.hashMany([0], [1], new Uint8Array(31)), "invalid_argument", "a short result");
      region.free();
    },
  },
];

/**
 * Chaining value of a whole chunk by the specification's compression function, sections 2.1 to 2.4,
 * in plain integer arithmetic.
 */
function chunkValue(chunk: Uint8Array, counter: number): Uint8Array {
  const iv = [0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19];
  const permutation = [2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8];
  const view = new DataView(chunk.buffer, chunk.byteOffset, chunk.length);
  let value = Uint32Array.from(iv);
  for (let block = 0; block < 16; block++) {
    let words = Array.from({ length: 16 }, (_, i) => view.getUint32(block * 64 + i * 4, true));
    const flags = block === 0 ? 1 : block === 15 ? 2 : 0;
    const v = Uint32Array.from([
      ...value,
      ...iv.slice(0, 4),
      counter,
      Math.floor(counter / 2 ** 32),
      64,
      flags,
    ]);
    const rotated = (x: number, by: number): number => (x >>> by) | (x << (32 - by));
    const mix = (a: number, b: number, c: number, d: number, x: number, y: number): void => {
      const at = v as unknown as Record<number, number>;
      for (const [word, first, second] of [
        [x, 16, 12],
        [y, 8, 7],
      ] as const) {
        v[a] = at[a]! + at[b]! + word;
        v[d] = rotated(at[d]! ^ at[a]!, first);
        v[c] = at[c]! + at[d]!;
        v[b] = rotated(at[b]! ^ at[c]!, second);
      }
    };
    for (let round = 0; round < 7; round++) {
      for (let i = 0; i < 4; i++) mix(i, 4 + i, 8 + i, 12 + i, words[2 * i]!, words[2 * i + 1]!);
      for (let i = 0; i < 4; i++) {
        mix(
          i,
          4 + ((i + 1) % 4),
          8 + ((i + 2) % 4),
          12 + ((i + 3) % 4),
          words[8 + 2 * i]!,
          words[9 + 2 * i]!,
        );
      }
      words = permutation.map((from) => words[from]!);
    }
    value = Uint32Array.from({ length: 8 }, (_, i) => v[i]! ^ v[i + 8]!);
  }
  return new Uint8Array(value.buffer);
}
