/**
 * Byte layout of manifest v1: see docs/formats/manifest-v1.md. All integers are little-endian.
 *
 * Whoever holds all files at once uses `ManifestBuilder`; a job that streams a manifest of millions
 * of files in two passes (records, then paths) writes the header and the records with these functions.
 */
import { writeU64 } from "../bytes.ts";

export const MANIFEST_MAGIC = 0x4d585943; // "CYXM" read as a little-endian u32
export const MANIFEST_VERSION = 1;
export const MANIFEST_HEADER_BYTES = 64;
export const MANIFEST_RECORD_BYTES = 48;
export const HASH_BYTES = 32;
/** Flag bit 0: the files stand in an order of the creator's, not in ascending order of their path bytes. */
export const FLAG_CUSTOM_ORDER = 1;

export interface ManifestFile {
  readonly path: string;
  /** Bytes. */
  readonly size: number;
  /** BLAKE3 of the file, 32 bytes. */
  readonly contentHash: Uint8Array;
}

export interface ManifestHeader {
  readonly count: number;
  /** Sum of the lengths of all paths. */
  readonly pathBytes: number;
  /** Sum of the sizes of all files. */
  readonly totalSize: number;
  readonly customOrder: boolean;
}

/** Bytes of the whole manifest. */
export function manifestByteLength(header: Pick<ManifestHeader, "count" | "pathBytes">): number {
  return MANIFEST_HEADER_BYTES + header.count * MANIFEST_RECORD_BYTES + header.pathBytes;
}

/** Writes the 64 header bytes at the start of `view`. */
export function writeManifestHeader(view: DataView, header: ManifestHeader): void {
  view.setUint32(0, MANIFEST_MAGIC, true);
  view.setUint16(4, MANIFEST_VERSION, true);
  view.setUint16(6, header.customOrder ? FLAG_CUSTOM_ORDER : 0, true);
  writeU64(view, 8, header.count);
  writeU64(view, 16, MANIFEST_HEADER_BYTES + header.count * MANIFEST_RECORD_BYTES);
  writeU64(view, 24, header.pathBytes);
  writeU64(view, 32, header.totalSize);
  for (let at = 40; at < MANIFEST_HEADER_BYTES; at += 8) writeU64(view, at, 0);
}

/** Writes the 48 bytes of one record at `offset`; `pathEnd` counts from the start of the path bytes. */
export function writeManifestRecord(
  view: DataView,
  offset: number,
  pathEnd: number,
  size: number,
  contentHash: Uint8Array,
): void {
  writeU64(view, offset, pathEnd);
  writeU64(view, offset + 8, size);
  new Uint8Array(view.buffer, view.byteOffset + offset + 16, HASH_BYTES).set(contentHash);
}

/**
 * Finds equal neighbours after sorting the numbers 0…count−1: how a custom order is checked for
 * duplicate paths in 4 bytes a file.
 * @returns the sorted numbers and, when there is one, a pair that compares equal.
 */
export function sortedPositions(
  count: number,
  compare: (left: number, right: number) => number,
): { readonly sorted: Uint32Array; readonly duplicate: readonly [number, number] | undefined } {
  const sorted = new Uint32Array(count);
  for (let i = 0; i < count; i++) sorted[i] = i;
  sorted.sort(compare);
  for (let i = 1; i < count; i++) {
    const left = sorted[i - 1] as number;
    const right = sorted[i] as number;
    if (compare(left, right) === 0) return { sorted, duplicate: [left, right] };
  }
  return { sorted, duplicate: undefined };
}
