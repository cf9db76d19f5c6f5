/** Manifests for tests: files with made-up hashes, and paths as people have them. */
import fc from "fast-check";
import type { ManifestFile } from "../../core/dataset/manifest.ts";
import { pathViolation } from "../../core/dataset/path.ts";

export function file(path: string, size: number = path.length, mark: number = 0): ManifestFile {
  return { path, size, contentHash: new Uint8Array(32).fill((path.length * 37 + size + mark) % 256) };
}

/** `count` files in ascending order of path bytes. */
export function numberedFiles(count: number): ManifestFile[] {
  return Array.from({ length: count }, (_, i) =>
    file(`train/${String(i).padStart(8, "0")}.png`, i % 5_000, i),
  );
}

const segment = fc
  .oneof(
    fc.string({ minLength: 1, maxLength: 12, unit: fc.constantFrom(...Array.from("abcXYZ019._- é漢😀")) }),
    fc.constantFrom("img.png", "a", "...", "𝒳", "￿"),
  )
  .map((name) => name.normalize("NFC"));

export const validPath: fc.Arbitrary<string> = fc
  .array(segment, { minLength: 1, maxLength: 4 })
  .map((segments) => segments.join("/"))
  .filter((path) => pathViolation(path) === undefined);

export const validFiles: fc.Arbitrary<ManifestFile[]> = fc.uniqueArray(
  fc.record({
    path: validPath,
    size: fc.oneof(fc.nat(100_000), fc.integer({ min: 0, max: 2 ** 48 })),
    contentHash: fc.uint8Array({ minLength: 32, maxLength: 32 }),
  }),
  { selector: ({ path }) => path, maxLength: 40 },
);
