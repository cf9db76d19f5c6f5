import { blake3 as noble } from "@noble/hashes/blake3.js";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ManifestPages } from "../../core/dataset/manifest-pages.ts";
import {
  hashPages,
  MANIFEST_PAGE_BYTES,
  PageHasher,
  pageCount,
  pageLength,
  pageProof,
  PageTree,
  verifyPage,
  type PageClaim,
} from "../../core/dataset/manifest-proof.ts";
import { encodeManifest, Manifest } from "../../core/dataset/manifest.ts";
import { DataStreamError } from "../../core/errors.ts";
import { blake3 } from "./blake3.ts";
import { file, numberedFiles } from "./manifests.ts";

const PAGE = MANIFEST_PAGE_BYTES;

function patterned(length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => (i * 31 + (i >> 8)) % 251);
}

function pageOf(bytes: Uint8Array, pageIndex: number): Uint8Array {
  return bytes.subarray(pageIndex * PAGE, pageIndex * PAGE + pageLength(bytes.length, pageIndex));
}

function claimOf(bytes: Uint8Array, pageIndex: number): PageClaim {
  const { contentHash, pageValues } = hashPages(bytes, blake3);
  const proof = pageProof(pageValues, pageIndex, blake3);
  return { contentHash, totalBytes: bytes.length, pageIndex, pageBytes: pageOf(bytes, pageIndex), proof };
}

const LENGTHS = [1, 1_023, 1_024, 1_025, PAGE - 1, PAGE].concat(
  [1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 15, 16, 17].flatMap((pages) => [pages * PAGE + 1, (pages + 1) * PAGE]),
);

test.each(LENGTHS)(
  "%i bytes: the pages' values make BLAKE3 of the whole, and every page verifies",
  (length) => {
    const bytes = patterned(length);
    const { contentHash, pageValues } = hashPages(bytes, blake3);
    expect(contentHash).toEqual(noble(bytes));
    const tree = new PageTree(pageValues, blake3);
    for (let pageIndex = 0; pageIndex < pageCount(length); pageIndex++) {
      const proof = tree.proof(pageIndex);
      expect(proof.length / 32).toBeLessThanOrEqual(Math.ceil(Math.log2(pageCount(length))));
      const pageBytes = pageOf(bytes, pageIndex);
      verifyPage({ contentHash, totalBytes: length, pageIndex, pageBytes, proof }, blake3);
    }
  },
);

test("the hasher takes pieces of any length", () => {
  const bytes = patterned(3 * PAGE + 100);
  fc.assert(
    fc.property(fc.array(fc.nat(2 * PAGE), { maxLength: 6 }), (lengths) => {
      const hasher = new PageHasher(blake3);
      let at = 0;
      for (const length of lengths) {
        hasher.update(bytes.subarray(at, at + length));
        at = Math.min(bytes.length, at + length);
      }
      hasher.update(bytes.subarray(at));
      expect(hasher.finish()).toEqual(hashPages(bytes, blake3));
    }),
    { numRuns: 20 },
  );
});

describe("an altered claim is refused", () => {
  const bytes = patterned(6 * PAGE + 777);
  const claims = Array.from({ length: 7 }, (_, pageIndex) => claimOf(bytes, pageIndex));
  /** The error's code, or "verified". */
  const outcome = (claim: PageClaim): unknown => {
    try {
      verifyPage(claim, blake3);
      return "verified";
    } catch (error) {
      return error instanceof DataStreamError ? error.code : error;
    }
  };
  const outcomes = (altered: readonly PageClaim[]): unknown[] => [...new Set(altered.map(outcome))];

  test("a bit of the page, the proof or the hash", () => {
    fc.assert(
      fc.property(
        fc.nat(6),
        fc.constantFrom("pageBytes" as const, "proof" as const, "contentHash" as const),
        fc.nat(),
        fc.nat(7),
        (pageIndex, part, place, bit) => {
          const claim = claims[pageIndex] as PageClaim;
          const altered = claim[part].slice();
          altered[place % altered.length] = (altered[place % altered.length] as number) ^ (1 << bit);
          expect(outcome({ ...claim, [part]: altered })).toBe("data_loss");
        },
      ),
      { numRuns: 300 },
    );
  });

  test("another index, length or number of hashes", () => {
    for (const claim of claims) {
      const others = [-1, 0, 1, 2, 3, 4, 5, 6, 7, claim.pageIndex + 0.5].filter((i) => i !== claim.pageIndex);
      const { proof } = claim;
      expect(outcome(claim)).toBe("verified");
      expect(
        outcomes([
          ...others.map((pageIndex) => ({ ...claim, pageIndex })),
          { ...claim, pageBytes: claim.pageBytes.subarray(1) },
          { ...claim, proof: proof.subarray(32) },
          { ...claim, proof: proof.subarray(0, -32) },
          { ...claim, proof: proof.subarray(1) },
          { ...claim, proof: new Uint8Array([...proof, ...new Uint8Array(32)]) },
        ]),
      ).toEqual(["data_loss"]);
    }
  });

  test("another number of pages; for the last page another length", () => {
    const last = claims[6] as PageClaim;
    const totals = [0, -1, 0.5, Number.NaN, PAGE * 3, PAGE * 9];
    const ofPages = claims.flatMap((claim) => totals.map((totalBytes) => ({ ...claim, totalBytes })));
    expect(outcomes(ofPages)).toEqual(["data_loss"]);
    const ofLast = [-777, -1, 1, PAGE].map((more) => ({ ...last, totalBytes: bytes.length + more }));
    expect(outcomes(ofLast)).toEqual(["data_loss"]);
  });
});

describe("ManifestPages", () => {
  const files = numberedFiles(6_000);
  const bytes = encodeManifest(files);
  const { contentHash, pageValues } = hashPages(bytes, blake3);

  function open(
    change: { totalBytes?: number; alter?: (page: Uint8Array) => void; cachedPages?: number } = {},
  ): {
    pages: Promise<ManifestPages>;
    fetched: number[];
  } {
    const fetched: number[] = [];
    const pages = ManifestPages.open({
      contentHash,
      totalBytes: change.totalBytes ?? bytes.length,
      blake3,
      fetchPage: async (pageIndex) => {
        fetched.push(pageIndex);
        const page = pageOf(bytes, pageIndex).slice();
        if (pageIndex > 0) change.alter?.(page);
        return { bytes: page, proof: pageProof(pageValues, pageIndex, blake3) };
      },
      ...(change.cachedPages === undefined ? {} : { cachedPages: change.cachedPages }),
    });
    return { pages, fetched };
  }

  test("every item is that of the whole manifest, by proven pages only, each fetched once", async () => {
    const { pages, fetched } = open();
    const reader = await pages;
    const whole = Manifest.parse(bytes);
    expect(reader.count).toBe(6_000);
    for (let i = 0; i < 6_000; i += 7) expect(await reader.item(i)).toEqual(whole.item(i));
    expect(await reader.record(5_999)).toEqual({ size: 999, contentHash: whole.itemHash(5_999) });
    expect(fetched.toSorted((a, b) => a - b)).toEqual(
      Array.from({ length: pageCount(bytes.length) }, (_, i) => i),
    );
  });

  test("an item is found with few pages, and few are kept", async () => {
    const { pages, fetched } = open({ cachedPages: 2 });
    const reader = await pages;
    await reader.item(3_000);
    expect(fetched.length).toBeLessThanOrEqual(3);
    for (let i = 0; i < 6_000; i += 1_000) await reader.item(i);
    const before = fetched.length;
    await reader.item(3_000);
    expect(fetched.length).toBeGreaterThan(before);
  });

  test("any other total is refused, even where the page alone would prove", async () => {
    for (let difference = -300; difference <= 300; difference += 25) {
      if (difference === 0) continue;
      await expect(open({ totalBytes: bytes.length + difference }).pages).rejects.toMatchObject({
        code: "data_loss",
      });
    }
  });

  test("an altered page is refused, and asked for again the next time", async () => {
    let lies = 1;
    const { pages, fetched } = open({
      alter: (page) => {
        if (lies-- > 0) page[10] = (page[10] as number) ^ 1;
      },
    });
    const reader = await pages;
    await expect(reader.record(3_000)).rejects.toMatchObject({ code: "data_loss" });
    expect((await reader.record(3_000)).size).toBe(3_000);
    expect(fetched.length).toBe(3);
  });

  test("a proven page with a broken path is refused all the same", async () => {
    const bad = encodeManifest([file("abc")]);
    bad.set([0x2e, 0x2e, 0x2f], bad.length - 3);
    const reader = await ManifestPages.open({
      contentHash: hashPages(bad, blake3).contentHash,
      totalBytes: bad.length,
      blake3,
      fetchPage: async () => ({ bytes: bad, proof: new Uint8Array(0) }),
    });
    await expect(reader.item(0)).rejects.toMatchObject({ code: "data_loss" });
    await expect(reader.item(1)).rejects.toThrow(RangeError);
  });
});
