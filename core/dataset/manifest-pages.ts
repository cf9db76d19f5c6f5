import { readU64, viewOf } from "../bytes.ts";
import { DataStreamError } from "../errors.ts";
import type { Blake3 } from "../ports.ts";
import { fromUtf8 } from "../text.ts";
import {
  HASH_BYTES,
  MANIFEST_HEADER_BYTES,
  MANIFEST_RECORD_BYTES,
  manifestByteLength,
  type ManifestFile,
  type ManifestHeader,
} from "./manifest-format.ts";
import { MANIFEST_PAGE_BYTES, verifyPage } from "./manifest-proof.ts";
import { readManifestHeader } from "./manifest.ts";
import { pathViolation } from "./path.ts";

export interface ManifestPage {
  readonly bytes: Uint8Array;
  /** Sibling chaining values as `PageTree.proof` gives them. */
  readonly proof: Uint8Array;
}

export interface ManifestPagesOptions {
  /** What the reader trusts: comes from outside the sender of the pages. */
  readonly contentHash: Uint8Array;
  /** Length of the manifest as the sender states it; refused when the proven header says otherwise. */
  readonly totalBytes: number;
  readonly blake3: Blake3;
  readonly fetchPage: (pageIndex: number) => Promise<ManifestPage>;
  /** Verified pages kept in memory, 64 KiB each, oldest use dropped first. Default 32. */
  readonly cachedPages?: number;
}

/**
 * Reads a manifest page by page, each proven against the content hash before a byte of it is used.
 * For manifests too large to hold; memory is the cached pages.
 *
 * Not checked, since it takes the whole manifest: the order of paths and their uniqueness.
 */
export class ManifestPages {
  readonly header: ManifestHeader;
  readonly #options: ManifestPagesOptions;
  readonly #capacity: number;
  readonly #pages: Map<number, Promise<Uint8Array>> = new Map();

  private constructor(options: ManifestPagesOptions, header: ManifestHeader) {
    this.#options = options;
    this.#capacity = options.cachedPages ?? 32;
    this.header = header;
  }

  /**
   * Fetches and proves the first page.
   * @throws `data_loss` when it does not prove, is no manifest, or states another length than the sender did.
   */
  static async open(options: ManifestPagesOptions): Promise<ManifestPages> {
    const first = await provenPage(options, 0);
    const header = readManifestHeader(first);
    if (manifestByteLength(header) !== options.totalBytes)
      throw new DataStreamError(
        "data_loss",
        `The manifest has ${manifestByteLength(header)} bytes; ${options.totalBytes} were announced.`,
        { details: { part: "manifest" } },
      );
    const pages = new ManifestPages(options, header);
    pages.#pages.set(0, Promise.resolve(first));
    return pages;
  }

  get count(): number {
    return this.header.count;
  }

  /** Size and hash of a file: one page at most, and no path. The hash is a copy. */
  async record(index: number): Promise<Pick<ManifestFile, "size" | "contentHash">> {
    const record = await this.#bytes(this.#recordAt(index), MANIFEST_RECORD_BYTES);
    const size = readU64(viewOf(record), 8);
    if (size === undefined) throw brokenRecord(index);
    return { size, contentHash: record.slice(16, 16 + HASH_BYTES) };
  }

  async item(index: number): Promise<ManifestFile> {
    const { size, contentHash } = await this.record(index);
    const end = await this.#pathEnd(index);
    const start = index === 0 ? 0 : await this.#pathEnd(index - 1);
    if (start > end || end > this.header.pathBytes) throw brokenRecord(index);
    const pathsAt = MANIFEST_HEADER_BYTES + this.count * MANIFEST_RECORD_BYTES;
    const path = fromUtf8(await this.#bytes(pathsAt + start, end - start));
    if (path === undefined || pathViolation(path) !== undefined) throw brokenRecord(index);
    return { path, size, contentHash };
  }

  #recordAt(index: number): number {
    if (!Number.isInteger(index) || index < 0 || index >= this.count)
      throw new RangeError(`The manifest has ${this.count} files; there is no file ${index}.`);
    return MANIFEST_HEADER_BYTES + index * MANIFEST_RECORD_BYTES;
  }

  async #pathEnd(index: number): Promise<number> {
    const end = readU64(viewOf(await this.#bytes(this.#recordAt(index), 8)), 0);
    if (end === undefined) throw brokenRecord(index);
    return end;
  }

  async #bytes(offset: number, length: number): Promise<Uint8Array> {
    const bytes = new Uint8Array(length);
    for (let done = 0; done < length;) {
      const pageIndex = Math.floor((offset + done) / MANIFEST_PAGE_BYTES);
      const within = (offset + done) % MANIFEST_PAGE_BYTES;
      const part = (await this.#page(pageIndex)).subarray(within, within + length - done);
      if (part.length === 0) throw new RangeError("A manifest page is shorter than its proof allows.");
      bytes.set(part, done);
      done += part.length;
    }
    return bytes;
  }

  async #page(pageIndex: number): Promise<Uint8Array> {
    const held = this.#pages.get(pageIndex);
    const page = held ?? provenPage(this.#options, pageIndex);
    this.#pages.delete(pageIndex);
    this.#pages.set(pageIndex, page);
    for (const oldest of this.#pages.keys()) {
      if (this.#pages.size <= this.#capacity) break;
      this.#pages.delete(oldest);
    }
    try {
      return await page;
    } catch (error) {
      // A failure is not kept: the next call may ask the sender again.
      if (this.#pages.get(pageIndex) === page) this.#pages.delete(pageIndex);
      throw error;
    }
  }
}

async function provenPage(options: ManifestPagesOptions, pageIndex: number): Promise<Uint8Array> {
  const { bytes, proof } = await options.fetchPage(pageIndex);
  verifyPage(
    {
      contentHash: options.contentHash,
      totalBytes: options.totalBytes,
      pageIndex,
      pageBytes: bytes,
      proof,
    },
    options.blake3,
  );
  return bytes;
}

function brokenRecord(index: number): DataStreamError {
  return new DataStreamError("data_loss", `The manifest's record of file ${index} is malformed.`, {
    details: { part: "manifest", item: index },
  });
}
