import fc from "fast-check";
import type { Geometry, Kernels } from "../../../kernels/index.ts";
import { equal, equalBytes, noise, refused } from "../check.ts";
import type { KernelCase } from "./case.ts";

const GEOMETRIES: readonly Geometry[] = [
  { k: 2, m: 1 },
  { k: 4, m: 2 },
  { k: 6, m: 3 },
  { k: 10, m: 4 },
];

/** Parity rows of a 10+4 code as ISA-L 2.30 prints them (`gf_gen_rs_matrix(a, 14, 10)`). */
const ISAL_10_4 = [
  [1, 1, 1, 1, 1, 1, 1, 1, 1, 1],
  [1, 2, 4, 8, 16, 32, 64, 128, 29, 58],
  [1, 4, 16, 64, 29, 116, 205, 19, 76, 45],
  [1, 8, 64, 58, 205, 38, 45, 117, 143, 12],
];

/** Product in GF(2^8) modulo 0x11d by shift and add, without tables. */
export function slowMultiply(a: number, b: number): number {
  let product = 0;
  for (let bit = 0; bit < 8; bit++) {
    if ((b >> bit) & 1) product ^= a << bit;
  }
  for (let bit = 15; bit >= 8; bit--) {
    if ((product >> bit) & 1) product ^= 0x11d << (bit - 8);
  }
  return product;
}

/** Parity rows by their definition: row r is 1, 2^r, 4^r, … */
export function slowRows({ k, m }: Geometry): number[][] {
  return Array.from({ length: m }, (_, row) => {
    const base = 1 << row;
    const values = [1];
    while (values.length < k) values.push(slowMultiply(values.at(-1) as number, base));
    return values;
  });
}

function slowParity(geometry: Geometry, data: readonly Uint8Array[]): Uint8Array[] {
  return slowRows(geometry).map((row) =>
    Uint8Array.from(data[0] ?? [], (_, at) =>
      row.reduce((sum, factor, i) => sum ^ slowMultiply(factor, data[i]?.[at] ?? 0), 0),
    ),
  );
}

function stripe(kernels: Kernels, geometry: Geometry, length: number, seed: number): Uint8Array[] {
  const data = Array.from({ length: geometry.k }, (_, i) => noise(length, seed + i));
  return [...data, ...kernels.rs.encodeBytes(geometry, data)];
}

/** Every way to lose 1 to m of the shards. */
function* losses({ k, m }: Geometry): Generator<number[]> {
  for (let mask = 1; mask < 2 ** (k + m); mask++) {
    const lost = Array.from({ length: k + m }, (_, i) => i).filter((i) => (mask >> i) & 1);
    if (lost.length <= m) yield lost;
  }
}

function without(shards: readonly Uint8Array[], lost: readonly number[]): Map<number, Uint8Array> {
  return new Map([...shards.entries()].filter(([index]) => !lost.includes(index)));
}

export const reedSolomonCases: readonly KernelCase[] = [
  {
    name: "parity rows equal ISA-L's matrix and their definition",
    run(kernels) {
      for (const geometry of [...GEOMETRIES, { k: 32, m: 3 }, { k: 21, m: 4 }, { k: 1, m: 4 }]) {
        for (let shard = 0; shard < geometry.k; shard++) {
          const data = Array.from({ length: geometry.k }, (_, i) =>
            new Uint8Array(50).fill(i === shard ? 1 : 0),
          );
          kernels.rs.encodeBytes(geometry, data).forEach((parity, row) => {
            const expected = slowRows(geometry)[row]?.[shard];
            for (const at of [0, 31, 32, 49])
              equal(parity[at], expected, `${geometry.k}+${geometry.m} ${row},${shard}`);
            if (geometry.k === 10) equal(parity[0], ISAL_10_4[row]?.[shard], `ISA-L ${row},${shard}`);
          });
        }
      }
    },
  },
  {
    name: "parity of random shards of any length equals slow arithmetic",
    run(kernels) {
      const geometry = fc.tuple(fc.integer({ min: 1, max: 4 }), fc.integer({ min: 1, max: 21 }));
      fc.assert(
        fc.property(geometry, fc.integer({ min: 0, max: 200 }), fc.nat(1_000), ([m, k], length, seed) => {
          const shards = stripe(kernels, { k, m }, length, seed);
          slowParity({ k, m }, shards.slice(0, k)).forEach((expected, row) =>
            equalBytes(shards[k + row] as Uint8Array, expected, `${k}+${m} of ${length}, row ${row}`),
          );
          equal(kernels.rs.verifyBytes({ k, m }, shards), true, "verify");
        }),
        { numRuns: 120 },
      );
    },
  },
  ...GEOMETRIES.map((geometry) => ({
    name: `${geometry.k}+${geometry.m}: every loss pattern is rebuilt, whole and in ranges`,
    run(kernels: Kernels) {
      for (const length of [1, 31, 33, 997]) {
        const shards = stripe(kernels, geometry, length, length);
        for (const lost of losses(geometry)) {
          const rebuilt = kernels.rs.reconstructBytes(geometry, without(shards, lost), lost);
          for (const [index, bytes] of rebuilt) {
            equalBytes(
              bytes,
              shards[index] as Uint8Array,
              `${length} bytes without ${lost.join()}: shard ${index}`,
            );
          }
          const [from, to] = [Math.floor(length / 3), Math.ceil(length * 0.9)];
          const ranges = shards.map((shard) => shard.subarray(from, to));
          const first = lost[0] as number;
          const range = kernels.rs.reconstructBytes(geometry, without(ranges, lost), [first]).get(first);
          equalBytes(range as Uint8Array, ranges[first] as Uint8Array, `range without ${lost.join()}`);
        }
      }
    },
  })),
  {
    name: "shards larger than the staging area, outside and inside kernel memory",
    run(kernels) {
      const geometry = { k: 4, m: 2 };
      const length = 300_007;
      const shards = stripe(kernels, geometry, length, 9);
      equalBytes(
        shards[4]!,
        slowParity({ k: 4, m: 1 }, shards.slice(0, 4))[0]!,
        "parity of the whole length",
      );
      equal(kernels.rs.verifyBytes(geometry, shards), true, "verify");
      const region = kernels.heap.tryAllocate(3 * length);
      if (region === undefined) throw new Error("the test heap is full");
      const inside = [0, 3, 5].map((index, i) => {
        const view = region.view.subarray(i * length, (i + 1) * length);
        view.set(shards[index] as Uint8Array);
        return [index, view] as const;
      });
      const rebuilt = kernels.rs.reconstructBytes(geometry, new Map([...inside, [1, shards[1]!]]), [2, 4]);
      equalBytes(rebuilt.get(2)!, shards[2]!, "data shard");
      equalBytes(rebuilt.get(4)!, shards[4]!, "parity shard");
      region.free();
    },
  },
  {
    name: "work on pointers at any address writes its outputs and not a byte beside them",
    run(kernels) {
      const guard = 0xa5;
      fc.assert(
        fc.property(
          fc.constantFrom(...GEOMETRIES),
          fc.integer({ min: 0, max: 130 }),
          fc.integer({ min: 0, max: 64 }),
          fc.nat(1_000),
          (geometry, length, skew, seed) => {
            const { k, m } = geometry;
            const shards = stripe(kernels, geometry, length, seed);
            const pitch = length + skew + 40;
            const region = kernels.heap.tryAllocate(pitch * (k + m));
            if (region === undefined) throw new Error("the test heap is full");
            const at = (index: number): number => index * pitch + skew;
            const pointer = (index: number): number => region.pointer + at(index);
            const pointers = shards.map((_, index) => pointer(index));
            const lay = (skipped: readonly number[]): void => {
              region.view.fill(guard);
              shards.forEach((shard, index) => {
                if (!skipped.includes(index)) region.view.set(shard, at(index));
              });
            };
            lay([]);
            const expected = region.view.slice();
            const parity = Array.from({ length: m }, (_, i) => k + i);

            lay(parity);
            kernels.rs.encode(geometry, pointers.slice(0, k), pointers.slice(k), length);
            equalBytes(region.view, expected, "encode");
            equal(
              kernels.rs.verify(geometry, pointers.slice(0, k), pointers.slice(k), length),
              true,
              "verify",
            );

            const lost = parity
              .map((index) => (index * (seed + 1)) % (k + m))
              .filter((x, i, all) => all.indexOf(x) === i);
            lay(lost);
            const present = new Map(
              [...pointers.entries()].filter(([index]) => !lost.includes(index)).toReversed(),
            );
            kernels.rs.reconstruct(
              geometry,
              present,
              new Map(lost.map((index) => [index, pointer(index)])),
              length,
            );
            equalBytes(region.view, expected, `reconstruct ${lost.join()}`);
            region.free();
          },
        ),
        { numRuns: 200 },
      );
    },
  },
  {
    name: "verify sees every single flipped byte",
    run(kernels) {
      for (const geometry of GEOMETRIES) {
        for (const length of [1, 20, 32, 75]) {
          const shards = stripe(kernels, geometry, length, 3);
          equal(kernels.rs.verifyBytes(geometry, shards), true, "untouched");
          for (const shard of shards) {
            for (let at = 0; at < length; at++) {
              const kept = shard[at] as number;
              shard[at] = kept ^ (1 + (at % 255));
              equal(kernels.rs.verifyBytes(geometry, shards), false, `byte ${at} of ${length}`);
              shard[at] = kept;
            }
          }
        }
      }
    },
  },
  {
    name: "geometries outside the proven range are refused",
    run(kernels) {
      for (const [k, m] of [
        [0, 1],
        [33, 1],
        [33, 3],
        [22, 4],
        [4, 0],
        [4, 5],
        [1.5, 2],
        [4, Number.NaN],
        [-1, 2],
      ] as const) {
        const data = Array.from({ length: Math.max(1, Math.ceil(k)) }, () => new Uint8Array(8));
        refused(() => kernels.rs.encodeBytes({ k, m }, data), "invalid_argument", `encode ${k}+${m}`);
        refused(() => kernels.rs.verifyBytes({ k, m }, data), "invalid_argument", `verify ${k}+${m}`);
        const present = new Map(data.entries());
        refused(
          () => kernels.rs.reconstructBytes({ k, m }, present, []),
          "invalid_argument",
          `reconstruct ${k}+${m}`,
        );
      }
    },
  },
  {
    name: "reconstruct refuses what it cannot or need not do",
    run(kernels) {
      const { rs } = kernels;
      const geometry = { k: 4, m: 2 };
      const shards = stripe(kernels, geometry, 64, 5);
      refused(
        () => rs.reconstructBytes(geometry, without(shards, [0, 1, 2]), [0]),
        "data_loss",
        "three lost of 4+2",
      );
      refused(
        () => rs.reconstructBytes(geometry, without(shards, [0]), [1]),
        "invalid_argument",
        "a present shard",
      );
      refused(
        () => rs.reconstructBytes(geometry, without(shards, [0]), [6]),
        "invalid_argument",
        "shard 6 of 0 to 5",
      );
      refused(
        () => rs.reconstructBytes(geometry, without(shards, [0]), [-1]),
        "invalid_argument",
        "shard -1",
      );
      refused(
        () => rs.reconstructBytes(geometry, without(shards, [0]), [0, 0]),
        "invalid_argument",
        "a shard twice",
      );
      const uneven = without(shards, [0]).set(2, new Uint8Array(63));
      refused(
        () => rs.reconstructBytes(geometry, uneven, [0]),
        "invalid_argument",
        "shards of different lengths",
      );
      refused(
        () => rs.encodeBytes(geometry, shards.slice(0, 3)),
        "invalid_argument",
        "three data shards of four",
      );
      equal(rs.reconstructBytes(geometry, without(shards, [0]), []).size, 0, "nothing asked for");
    },
  },
];
