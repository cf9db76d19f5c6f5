import { blake3 as reference } from "@noble/hashes/blake3.js";
import { sha256 as referenceSha256 } from "@noble/hashes/sha2.js";
import fc from "fast-check";
import { expect, test } from "vitest";
import { loadKernels } from "../../kernels/index.ts";
import { createSha256, sha256 } from "../../storage/sha256.ts";
import { joinSubtrees, PartHasher, treeHashes } from "../../storage/uploads/compose-hash.ts";
import { cut, patterned } from "./fixture.ts";

const { blake3 } = await loadKernels({ heapBytes: 0 });
const powerOfTwo = (least: number, most: number): fc.Arbitrary<number> =>
  fc.integer({ min: least, max: most }).map((exponent) => 2 ** exponent);

test("parts of chunks compose to the hash of the object, for any size, part size and chunk size", () => {
  fc.assert(
    fc.property(
      powerOfTwo(10, 15),
      powerOfTwo(10, 16),
      fc.nat(200_000),
      fc.nat(),
      (partBytes, chunkBytes, size, seed) => {
        const bytes = patterned(size, seed);
        const parts = cut(bytes, partBytes).map((part, i) => {
          const hasher = new PartHasher(blake3, i * partBytes);
          if (part.length > 0)
            for (const chunk of cut(part, chunkBytes)) expect(hasher.add(chunk)).toEqual(reference(chunk));
          const hashes = hasher.finish();
          expect(hashes.contentHash).toEqual(reference(part));
          return hashes;
        });
        const [first] = parts;
        const hash =
          parts.length === 1
            ? first?.contentHash
            : joinSubtrees(
                blake3,
                parts.map(({ chainingValue }) => chainingValue),
                true,
              );
        expect(hash).toEqual(reference(bytes));
      },
    ),
    { numRuns: 300 },
  );
});

test("both hashes of the first piece come from one pass", () => {
  for (const size of [0, 1, 1023, 1024, 1025, 2048, 2049, 3072, 100_000]) {
    const bytes = patterned(size);
    expect(treeHashes(blake3, bytes)).toEqual({
      root: reference(bytes),
      chainingValue: blake3.subtree(bytes, 0),
    });
  }
});

test("joining needs something to join", () => {
  expect(() => joinSubtrees(blake3, [], false)).toThrow(RangeError);
  expect(() => joinSubtrees(blake3, [new Uint8Array(32)], true)).toThrow(RangeError);
});

test("SHA-256 at once and by pieces is that of the standard", async () => {
  for (const size of [0, 1, 55, 56, 64, 1000]) {
    const bytes = patterned(size);
    const pieces = createSha256();
    for (const piece of cut(bytes, 7)) await pieces.update(piece);
    expect(await pieces.digest()).toEqual(referenceSha256(bytes));
    expect(await sha256(bytes)).toEqual(referenceSha256(bytes));
  }
});
