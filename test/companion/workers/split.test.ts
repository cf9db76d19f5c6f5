import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { compact } from "../../../companion/workers/compact.ts";
import type { ItemResult } from "../../../companion/workers/job.ts";
import { splitByBytes } from "../../../companion/workers/split.ts";

describe("splitting by bytes", () => {
  test("covers every item once, in at most two runs a thread", () => {
    fc.assert(
      fc.property(
        fc.array(fc.nat(500_000), { maxLength: 200 }),
        fc.integer({ min: 1, max: 16 }),
        (lengths, threads) => {
          const ends = splitByBytes(lengths, threads);
          expect(ends.at(-1) ?? 0).toBe(lengths.length);
          expect(ends.length).toBeLessThanOrEqual(threads * 2);
          for (const [i, end] of ends.entries()) expect(end).toBeGreaterThan(ends[i - 1] ?? 0);
        },
      ),
    );
  });

  test("equal items make equal runs; small batches stay together", () => {
    expect(splitByBytes(Array(64).fill(100_000), 4)).toEqual([8, 16, 24, 32, 40, 48, 56, 64]);
    expect(splitByBytes(Array(64).fill(1_000), 4)).toEqual([64]);
    expect(splitByBytes([0, 0, 0], 4)).toEqual([3]);
    expect(splitByBytes([], 4)).toEqual([]);
  });
});

test("compacting closes the gaps of failed items", () => {
  const bad: ItemResult = { ok: false, reason: "decode", message: "is wrong." };
  fc.assert(
    fc.property(
      fc.array(fc.boolean(), { maxLength: 40 }),
      fc.integer({ min: 1, max: 9 }),
      (oks, itemBytes) => {
        const data = Uint8Array.from({ length: oks.length * itemBytes + 5 }, (_, i) =>
          Math.floor(i / itemBytes),
        );
        const results = oks.map((ok): ItemResult => (ok ? { ok } : bad));
        const kept = oks.flatMap((ok, i) => (ok ? [i] : []));
        expect(compact(data, { kind: "tensor", itemBytes }, results)).toBe(kept.length);
        expect([...data.subarray(0, kept.length * itemBytes)]).toEqual(
          kept.flatMap((i) => Array(itemBytes).fill(i) as number[]),
        );
      },
    ),
  );
  expect(() => compact(new Uint8Array(8), { kind: "bytes", itemBytes: 0 }, [bad, { ok: true }])).toThrow(
    /left out/,
  );
});
