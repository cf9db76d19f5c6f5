/** Manifest v1 in parts, in flat memory: each part can be made from the position where the one before ended. */
import {
  MANIFEST_HEADER_BYTES,
  MANIFEST_RECORD_BYTES,
  type ManifestHeader,
  manifestByteLength,
  writeManifestHeader,
  writeManifestRecord,
} from "../../core/dataset/manifest-format.ts";
import { MANIFEST_PAGE_BYTES } from "../../core/dataset/manifest-proof.ts";
import { concatBytes, viewOf } from "../../core/bytes.ts";
import { DataStreamError } from "../../core/errors.ts";
import type { Blake3, Sql } from "../../core/ports.ts";
import { type FileRecord, readPaths, readRecords } from "../../catalog/dataset-manifest.ts";

/** Files asked for at once; 4,096 of the longest paths make an answer of 8 MiB. */
const FILES_PER_QUERY = 4_096;

/** Where the bytes of a part begin. */
export interface ManifestPosition {
  readonly region: "header" | "records" | "paths";
  /** The file whose record or path comes next. */
  readonly index: number;
  /** Bytes of that record or path that came already. */
  readonly within: number;
  /** Lengths of the paths of all files before, in the records; unused in the paths. */
  readonly pathEnd: number;
}

export const MANIFEST_START: ManifestPosition = { region: "header", index: 0, within: 0, pathEnd: 0 };

/** Pieces of the header, a run of records or a run of paths, with the position after any number of bytes of it. */
interface Run {
  readonly bytes: Uint8Array;
  after(taken: number): ManifestPosition;
}

/** The bytes of a manifest from any position on. */
export class ManifestStream {
  readonly #sql: Sql;
  readonly #datasetId: string;
  readonly #filesPerQuery: number;
  readonly header: ManifestHeader;

  constructor(sql: Sql, datasetId: string, header: ManifestHeader, filesPerQuery: number = FILES_PER_QUERY) {
    this.#sql = sql;
    this.#datasetId = datasetId;
    this.#filesPerQuery = filesPerQuery;
    this.header = header;
  }

  get byteLength(): number {
    return manifestByteLength(this.header);
  }

  /**
   * Yields exactly `length` bytes and returns the position after them.
   * @throws `internal` when the dataset has fewer files than the header says.
   */
  async *read(from: ManifestPosition, length: number): AsyncGenerator<Uint8Array, ManifestPosition> {
    let position = from;
    for (let rest = length; rest > 0;) {
      const run = await this.#run(position);
      const piece = run.bytes.subarray(0, rest);
      yield piece;
      rest -= piece.length;
      position = run.after(piece.length);
    }
    return position;
  }

  async #run(position: ManifestPosition): Promise<Run> {
    const { region, index } = position;
    if (region === "header") return headerRun(this.header, position);
    const count = Math.min(this.#filesPerQuery, this.header.count - index);
    if (region === "records") {
      const records = await readRecords(this.#sql, this.#datasetId, index, count);
      this.#expect(records.length, count);
      return recordsRun(records, position, this.header.count);
    }
    const paths = await readPaths(this.#sql, this.#datasetId, index, count);
    this.#expect(paths.length, count);
    return pathsRun(paths, position);
  }

  #expect(found: number, count: number): void {
    if (count > 0 && found === count) return;
    throw new DataStreamError("internal", "The dataset has fewer files than were counted.");
  }
}

function headerRun(header: ManifestHeader, position: ManifestPosition): Run {
  const bytes = new Uint8Array(MANIFEST_HEADER_BYTES);
  writeManifestHeader(viewOf(bytes), header);
  return {
    bytes: bytes.subarray(position.within),
    after(taken) {
      const within = position.within + taken;
      if (within < MANIFEST_HEADER_BYTES) return { ...position, within };
      return { region: "records", index: 0, within: 0, pathEnd: 0 };
    },
  };
}

function recordsRun(records: readonly FileRecord[], position: ManifestPosition, count: number): Run {
  const bytes = new Uint8Array(records.length * MANIFEST_RECORD_BYTES);
  const view = viewOf(bytes);
  const pathEnds: number[] = [];
  let pathEnd = position.pathEnd;
  records.forEach((record, i) => {
    pathEnd += record.pathLength;
    pathEnds.push(pathEnd);
    writeManifestRecord(view, i * MANIFEST_RECORD_BYTES, pathEnd, record.size, record.contentHash);
  });
  return {
    bytes: bytes.subarray(position.within),
    after(taken) {
      const at = position.within + taken;
      const finished = Math.floor(at / MANIFEST_RECORD_BYTES);
      const index = position.index + finished;
      if (index === count) return { region: "paths", index: 0, within: 0, pathEnd: 0 };
      const before = finished === 0 ? position.pathEnd : (pathEnds[finished - 1] as number);
      return { region: "records", index, within: at % MANIFEST_RECORD_BYTES, pathEnd: before };
    },
  };
}

function pathsRun(paths: readonly Uint8Array[], position: ManifestPosition): Run {
  return {
    bytes: concatBytes(paths).subarray(position.within),
    after(taken) {
      let within = position.within + taken;
      let finished = 0;
      for (let path = paths[0]; path !== undefined && within >= path.length; path = paths[finished]) {
        within -= path.length;
        finished++;
      }
      return { region: "paths", index: position.index + finished, within, pathEnd: 0 };
    },
  };
}

/** Takes the bytes of a manifest, or of a part of it that begins with a page, and keeps the page's chaining values. */
export class PageValues {
  readonly #blake3: Blake3;
  readonly #page: Uint8Array = new Uint8Array(MANIFEST_PAGE_BYTES);
  readonly #values: Uint8Array[] = [];
  #offset: number;
  #used = 0;

  /** @param offset where in the manifest the bytes begin: a multiple of 64 KiB. */
  constructor(blake3: Blake3, offset: number) {
    this.#blake3 = blake3;
    this.#offset = offset;
  }

  update(bytes: Uint8Array): void {
    for (let rest = bytes; rest.length > 0;) {
      const head = rest.subarray(0, MANIFEST_PAGE_BYTES - this.#used);
      this.#page.set(head, this.#used);
      this.#used += head.length;
      rest = rest.subarray(head.length);
      if (this.#used === MANIFEST_PAGE_BYTES) this.#close();
    }
  }

  /** 32 bytes for each page, the last of which may be short. */
  finish(): Uint8Array {
    if (this.#used > 0) this.#close();
    return concatBytes(this.#values);
  }

  #close(): void {
    this.#values.push(this.#blake3.subtree(this.#page.subarray(0, this.#used), this.#offset));
    this.#offset += this.#used;
    this.#used = 0;
  }
}
