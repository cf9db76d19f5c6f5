/** Manifest v1, the immutable list of a dataset's files: docs/formats/manifest-v1.md. */
import { compareBytes, readU64, viewOf } from "../bytes.ts";
import { DataStreamError } from "../errors.ts";
import { DATASET_MAX_FILES } from "../limits.ts";
import type { Blake3 } from "../ports.ts";
import { fromUtf8, quoted, utf8 } from "../text.ts";
import {
  FLAG_CUSTOM_ORDER,
  HASH_BYTES,
  MANIFEST_HEADER_BYTES,
  MANIFEST_MAGIC,
  MANIFEST_RECORD_BYTES,
  MANIFEST_VERSION,
  manifestByteLength,
  type ManifestFile,
  type ManifestHeader,
  sortedPositions,
} from "./manifest-format.ts";
import { asciiPathViolation, NEEDS_DECODING, pathViolation } from "./path.ts";

export { encodeManifest, ManifestBuilder } from "./manifest-builder.ts";
export type { ManifestFile } from "./manifest-format.ts";

/** Content hash of a dataset: BLAKE3 of its manifest. */
export function manifestHash(manifest: Uint8Array, blake3: Blake3): Uint8Array {
  return blake3.hash(manifest);
}

/**
 * A whole, validated manifest over the bytes it was given, which it neither copies nor changes.
 * Validation says that the bytes are a well-formed manifest, not that they are the right one:
 * compare their BLAKE3 with a content hash from elsewhere.
 */
export class Manifest {
  readonly bytes: Uint8Array;
  readonly header: ManifestHeader;
  readonly #view: DataView;
  readonly #pathsAt: number;
  #byPath: Uint32Array | undefined;

  private constructor(bytes: Uint8Array, header: ManifestHeader) {
    this.bytes = bytes;
    this.header = header;
    this.#view = viewOf(bytes);
    this.#pathsAt = MANIFEST_HEADER_BYTES + header.count * MANIFEST_RECORD_BYTES;
  }

  /**
   * Reads and validates everything: exact lengths, reserved bits, path rules, order, uniqueness, sums.
   * What it accepts is the one encoding of that list of files.
   * @throws `data_loss` naming the first broken rule.
   */
  static parse(bytes: Uint8Array): Manifest {
    const header = readManifestHeader(bytes);
    if (manifestByteLength(header) !== bytes.length)
      throw broken(`has ${bytes.length} bytes where its header says ${manifestByteLength(header)}`);
    const manifest = new Manifest(bytes, header);
    manifest.#validateRecords();
    return manifest;
  }

  get count(): number {
    return this.header.count;
  }

  /** Sum of the files' sizes in bytes. */
  get totalSize(): number {
    return this.header.totalSize;
  }

  item(index: number): ManifestFile {
    return { path: this.itemPath(index), size: this.itemSize(index), contentHash: this.itemHash(index) };
  }

  itemSize(index: number): number {
    return readU64(this.#view, this.#recordAt(index) + 8) as number;
  }

  /** The file's 32-byte BLAKE3, as a view into the manifest. */
  itemHash(index: number): Uint8Array {
    const at = this.#recordAt(index) + 16;
    return this.bytes.subarray(at, at + HASH_BYTES);
  }

  itemPath(index: number): string {
    return fromUtf8(this.pathBytes(index)) as string;
  }

  /** UTF-8 bytes of the path, as a view into the manifest. */
  pathBytes(index: number): Uint8Array {
    const at = this.#recordAt(index);
    const start = index === 0 ? 0 : this.#pathEnd(at - MANIFEST_RECORD_BYTES);
    return this.bytes.subarray(this.#pathsAt + start, this.#pathsAt + this.#pathEnd(at));
  }

  /**
   * Position of a path, or −1. O(log n); with a custom order the first call sorts an index of 4 bytes a file.
   */
  indexOf(path: string): number {
    const wanted = utf8(path);
    if (this.header.customOrder) this.#byPath ??= this.#sorted();
    let low = 0;
    let high = this.count;
    while (low < high) {
      const middle = Math.floor((low + high) / 2);
      const index = this.#byPath === undefined ? middle : (this.#byPath[middle] as number);
      const comparison = compareBytes(this.pathBytes(index), wanted);
      if (comparison === 0) return index;
      if (comparison < 0) low = middle + 1;
      else high = middle;
    }
    return -1;
  }

  #recordAt(index: number): number {
    if (!Number.isInteger(index) || index < 0 || index >= this.header.count)
      throw new RangeError(`The manifest has ${this.header.count} files; there is no file ${index}.`);
    return MANIFEST_HEADER_BYTES + index * MANIFEST_RECORD_BYTES;
  }

  #pathEnd(recordAt: number): number {
    return readU64(this.#view, recordAt) as number;
  }

  #sorted(): Uint32Array {
    const compare = (i: number, j: number): number => compareBytes(this.pathBytes(i), this.pathBytes(j));
    const { sorted, duplicate } = sortedPositions(this.count, compare);
    if (duplicate !== undefined) throw broken(`names ${quoted(this.itemPath(duplicate[0]))} twice`);
    return sorted;
  }

  #validateRecords(): void {
    let previousEnd = 0;
    let totalSize = 0;
    let ascending = true;
    for (let i = 0; i < this.count; i++) {
      const at = MANIFEST_HEADER_BYTES + i * MANIFEST_RECORD_BYTES;
      const end = readU64(this.#view, at);
      const size = readU64(this.#view, at + 8);
      if (size === undefined) throw broken(`gives file ${i} more than 2^53 − 1 bytes`);
      if (end === undefined || end < previousEnd || end > this.header.pathBytes)
        throw broken(`gives the path of file ${i} an end outside the path bytes`);
      validatePath(this.bytes, this.#pathsAt + previousEnd, this.#pathsAt + end, i);
      previousEnd = end;
      totalSize += size;
      if (totalSize > Number.MAX_SAFE_INTEGER)
        throw broken("has sizes that add up to more than 2^53 − 1 bytes");
      if (i > 0) {
        const comparison = compareBytes(this.pathBytes(i - 1), this.pathBytes(i));
        if (comparison === 0) throw broken(`names ${quoted(this.itemPath(i))} twice`);
        if (comparison > 0) ascending = false;
      }
    }
    if (previousEnd !== this.header.pathBytes) throw broken("has path bytes that belong to no file");
    if (totalSize !== this.header.totalSize)
      throw broken(`says ${this.header.totalSize} bytes in all, but its files have ${totalSize}`);
    if (ascending === this.header.customOrder)
      throw broken(ascending ? "is flagged as custom order but is sorted" : "is not sorted by path bytes");
    if (this.header.customOrder) this.#byPath = this.#sorted();
  }
}

/**
 * Reads the first 64 bytes of a manifest.
 * @throws `data_loss` for another magic, version, flag, a reserved byte that is not zero, or impossible numbers.
 */
export function readManifestHeader(bytes: Uint8Array): ManifestHeader {
  if (bytes.length < MANIFEST_HEADER_BYTES) throw broken("is shorter than its 64-byte header");
  const view = viewOf(bytes);
  if (view.getUint32(0, true) !== MANIFEST_MAGIC) throw broken("does not start with CYXM");
  const version = view.getUint16(4, true);
  if (version !== MANIFEST_VERSION)
    throw broken(`has version ${version}; this program reads version ${MANIFEST_VERSION}`);
  const flags = view.getUint16(6, true);
  if ((flags & ~FLAG_CUSTOM_ORDER) !== 0) throw broken(`has unknown flags 0x${flags.toString(16)}`);
  for (let at = 40; at < MANIFEST_HEADER_BYTES; at++)
    if (bytes[at] !== 0) throw broken("has a reserved header byte that is not zero");
  const count = readU64(view, 8);
  const pathBytes = readU64(view, 24);
  const totalSize = readU64(view, 32);
  if (count === undefined || count > DATASET_MAX_FILES || pathBytes === undefined || totalSize === undefined)
    throw broken("has a count or length out of range");
  if (readU64(view, 16) !== MANIFEST_HEADER_BYTES + count * MANIFEST_RECORD_BYTES)
    throw broken("has its paths at another offset than its count says");
  return { count, pathBytes, totalSize, customOrder: (flags & FLAG_CUSTOM_ORDER) !== 0 };
}

function validatePath(bytes: Uint8Array, start: number, end: number, index: number): void {
  let violation = asciiPathViolation(bytes, start, end);
  if (violation === NEEDS_DECODING) {
    const path = fromUtf8(bytes.subarray(start, end));
    violation = path === undefined ? "is not valid UTF-8" : pathViolation(path);
  }
  if (violation !== undefined) throw broken(`has a file ${index} whose path ${violation}`);
}

function broken(what: string): DataStreamError {
  return new DataStreamError("data_loss", `The manifest ${what}.`, { details: { part: "manifest" } });
}
