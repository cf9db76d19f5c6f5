import { compareBytes, viewOf } from "../bytes.ts";
import { invalidArgument } from "../errors.ts";
import { DATASET_MAX_FILES } from "../limits.ts";
import { fromUtf8, quoted, utf8 } from "../text.ts";
import {
  HASH_BYTES,
  MANIFEST_HEADER_BYTES,
  MANIFEST_RECORD_BYTES,
  manifestByteLength,
  type ManifestFile,
  sortedPositions,
  writeManifestHeader,
  writeManifestRecord,
} from "./manifest-format.ts";
import { checkPath } from "./path.ts";

const SEGMENT_BYTES = 48 * 4096;

/** Bytes appended in segments of a fixed size, so that growing never copies what is already there. */
class Segments {
  readonly #full: Uint8Array[] = [];
  #open: Uint8Array = new Uint8Array(SEGMENT_BYTES);
  #used = 0;

  append(bytes: Uint8Array): void {
    let rest = bytes;
    while (rest.length > 0) {
      if (this.#used === SEGMENT_BYTES) {
        this.#full.push(this.#open);
        this.#open = new Uint8Array(SEGMENT_BYTES);
        this.#used = 0;
      }
      const head = rest.subarray(0, SEGMENT_BYTES - this.#used);
      this.#open.set(head, this.#used);
      this.#used += head.length;
      rest = rest.subarray(head.length);
    }
  }

  copyTo(target: Uint8Array, offset: number): void {
    let at = offset;
    for (const segment of this.#full) {
      target.set(segment, at);
      at += SEGMENT_BYTES;
    }
    target.set(this.#open.subarray(0, this.#used), at);
  }
}

/**
 * Collects files into manifest v1. Holds 48 bytes and the path of each file; `finish` allocates the
 * manifest beside them once, so the peak is twice the manifest.
 *
 * The custom-order flag is set exactly when the files did not come in ascending order of path bytes,
 * so one list of files has one encoding.
 */
export class ManifestBuilder {
  readonly #records: Segments = new Segments();
  readonly #paths: Segments = new Segments();
  readonly #record: Uint8Array = new Uint8Array(MANIFEST_RECORD_BYTES);
  readonly #recordView: DataView = viewOf(this.#record);
  #last: Uint8Array | undefined;
  #count = 0;
  #pathBytes = 0;
  #totalSize = 0;
  #customOrder = false;

  get count(): number {
    return this.#count;
  }

  /** Sum of the files' sizes in bytes. */
  get totalSize(): number {
    return this.#totalSize;
  }

  /**
   * Adds the next file. The hash is copied.
   * @throws `invalid_argument` for a path that breaks a rule, a duplicate of the file before, a size that
   * is not a non-negative safe integer, a hash that is not 32 bytes, or more than 2^32 files.
   */
  add(file: ManifestFile): void {
    const field = `files[${this.#count}]`;
    if (this.#count >= DATASET_MAX_FILES)
      throw invalidArgument("files", `a dataset holds at most ${DATASET_MAX_FILES} files.`, {
        limit: DATASET_MAX_FILES,
      });
    checkPath(file.path, `${field}.path`);
    if (!Number.isSafeInteger(file.size) || file.size < 0)
      throw invalidArgument(`${field}.size`, `${file.size} is not a size in bytes.`);
    if (file.contentHash.length !== HASH_BYTES)
      throw invalidArgument(`${field}.content_hash`, `a BLAKE3 hash has ${HASH_BYTES} bytes.`);
    const totalSize = this.#totalSize + file.size;
    if (!Number.isSafeInteger(totalSize))
      throw invalidArgument(`${field}.size`, "the sizes add up to more than 2^53 − 1 bytes.");

    const path = utf8(file.path);
    if (this.#last !== undefined) {
      const comparison = compareBytes(this.#last, path);
      if (comparison === 0) throw duplicatePath(file.path, `${field}.path`);
      if (comparison > 0) this.#customOrder = true;
    }
    this.#last = path;
    this.#pathBytes += path.length;
    writeManifestRecord(this.#recordView, 0, this.#pathBytes, file.size, file.contentHash);
    this.#records.append(this.#record);
    this.#paths.append(path);
    this.#totalSize = totalSize;
    this.#count++;
  }

  /**
   * The encoded manifest; its BLAKE3 is the dataset's content hash.
   * @throws `invalid_argument` when a custom order names a path twice.
   */
  finish(): Uint8Array<ArrayBuffer> {
    const header = {
      count: this.#count,
      pathBytes: this.#pathBytes,
      totalSize: this.#totalSize,
      customOrder: this.#customOrder,
    };
    const bytes = new Uint8Array(manifestByteLength(header));
    const pathsAt = MANIFEST_HEADER_BYTES + this.#count * MANIFEST_RECORD_BYTES;
    writeManifestHeader(viewOf(bytes), header);
    this.#records.copyTo(bytes, MANIFEST_HEADER_BYTES);
    this.#paths.copyTo(bytes, pathsAt);
    if (this.#customOrder) refuseDuplicates(bytes, this.#count, pathsAt);
    return bytes;
  }
}

/** Encodes files in the order given. See `ManifestBuilder` for errors and the order flag. */
export function encodeManifest(files: Iterable<ManifestFile>): Uint8Array<ArrayBuffer> {
  const builder = new ManifestBuilder();
  for (const file of files) builder.add(file);
  return builder.finish();
}

function refuseDuplicates(bytes: Uint8Array, count: number, pathsAt: number): void {
  const view = viewOf(bytes);
  const endOf = (i: number): number => {
    const at = MANIFEST_HEADER_BYTES + i * MANIFEST_RECORD_BYTES;
    return pathsAt + view.getUint32(at, true) + view.getUint32(at + 4, true) * 2 ** 32;
  };
  const pathOf = (i: number): Uint8Array => bytes.subarray(i === 0 ? pathsAt : endOf(i - 1), endOf(i));
  const { duplicate } = sortedPositions(count, (i, j) => compareBytes(pathOf(i), pathOf(j)));
  if (duplicate === undefined) return;
  const path = pathOf(duplicate[0]);
  throw duplicatePath(fromUtf8(path) ?? "", `files[${Math.max(...duplicate)}].path`);
}

function duplicatePath(path: string, field: string): Error {
  return invalidArgument(field, `${quoted(path)} is in the dataset twice. Name every file once.`, {
    path,
    rule: "is a duplicate",
  });
}
