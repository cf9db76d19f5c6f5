import fc from "fast-check";
import { afterAll, expect, test } from "vitest";
import { concatBytes } from "../../core/bytes.ts";
import { encodeManifest, Manifest } from "../../core/dataset/manifest.ts";
import { hashPages, MANIFEST_PAGE_BYTES, PageTree } from "../../core/dataset/manifest-proof.ts";
import type { ManifestFile } from "../../core/dataset/manifest-format.ts";
import { compareUtf8 } from "../../core/text.ts";
import {
  MANIFEST_START,
  type ManifestPosition,
  ManifestStream,
  PageValues,
} from "../../durable-objects/jobs/manifest-stream.ts";
import { bytesOf, createBench, createJob, hash } from "./fixture.ts";

const bench = await createBench();
afterAll(() => bench.close());
const { sql, ownerId } = bench;
const { blake3 } = bench.direct.reads.kernels;

// Paths of 1 to 4 bytes a character, from very short to very long.
const files: readonly ManifestFile[] = Array.from({ length: 90 }, (_, i) => {
  const name = ["x", "é", "漢", "😀"][i % 4] ?? "";
  return `${name.repeat(1 + ((i * i) % 97))}${i}`;
})
  .toSorted(compareUtf8)
  .map((path) => ({ path, size: 10, contentHash: hash(bytesOf(path)) }));
const expected = encodeManifest(files);
const { header } = Manifest.parse(expected);

const bucket = await bench.bucket("odd");
await sql.query({
  text: `insert into objects (bucket_id, key, state, size, content_hash)
    select $1::uuid, key, 'live', 10, hash::bytea from unnest($2::text[], $3::text[]) as o (key, hash)`,
  values: [
    bucket,
    files.map(({ path }) => path),
    files.map(({ contentHash }) => `\\x${Buffer.from(contentHash).toString("hex")}`),
  ],
});
const job = await bench.run(createJob(ownerId, { files: ["odd/*"] }));
const datasetId = job.result?.dataset_id as string;

test("parts of any lengths, from queries of any size, add up to the manifest", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.integer({ min: 1, max: 3000 }), { minLength: 1, maxLength: 8 }),
      fc.integer({ min: 1, max: 100 }),
      async (lengths, filesPerQuery) => {
        const parts: Uint8Array[] = [];
        let position: ManifestPosition = MANIFEST_START;
        for (let at = 0, i = 0; at < expected.length; i++) {
          const length = Math.min(lengths[i % lengths.length] as number, expected.length - at);
          // A new stream for each part: all that a part needs is in the position.
          const stream = new ManifestStream(sql, datasetId, header, filesPerQuery);
          expect(stream.byteLength).toBe(expected.length);
          const reading = stream.read(structuredClone(position), length);
          let next = await reading.next();
          for (; next.done !== true; next = await reading.next()) parts.push(next.value);
          position = next.value;
          at += length;
        }
        expect(concatBytes(parts)).toEqual(expected);
      },
    ),
    { numRuns: 40 },
  );
});

test("page values of parts that begin with a page are those of the whole", () => {
  const bytes = new Uint8Array(5 * MANIFEST_PAGE_BYTES + 1234).map((_, i) => (i * 31) % 251);
  const whole = hashPages(bytes, blake3);
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 6 }), fc.integer({ min: 1, max: 100_000 }), (pages, pieceBytes) => {
      const values: Uint8Array[] = [];
      for (let offset = 0; offset < bytes.length; offset += pages * MANIFEST_PAGE_BYTES) {
        const part = bytes.subarray(offset, offset + pages * MANIFEST_PAGE_BYTES);
        const hasher = new PageValues(blake3, offset);
        for (let at = 0; at < part.length; at += pieceBytes)
          hasher.update(part.subarray(at, at + pieceBytes));
        values.push(hasher.finish());
      }
      expect(concatBytes(values)).toEqual(whole.pageValues);
      expect(new PageTree(concatBytes(values), blake3).root).toEqual(hash(bytes));
    }),
    { numRuns: 25 },
  );
});
