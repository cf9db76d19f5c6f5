import { equalBytes } from "../../core/bytes.ts";
import type { CacheFiles, FileFacts } from "./files.ts";
import {
  encodeHeader,
  encodeRecord,
  HASH_BYTES,
  HEADER_BYTES,
  isHeader,
  readRecord,
  RECORD_BYTES,
  type ItemPlace,
} from "./record.ts";

/** Records that one read of a segment's end takes. */
const RECORDS_PER_READ = 1_024;

export interface NewItem {
  /** BLAKE3 of the bytes. */
  readonly hash: Uint8Array;
  readonly bytes: Uint8Array;
}

/** Part of a read: where an item lies, and where it shall go. */
export interface ItemRead {
  readonly place: ItemPlace;
  /** As long as the item. */
  readonly target: Uint8Array;
}

/**
 * One file of the cache, see record.ts. It is written by the process that made it, from its front and its end, and read by
 * any number of processes; records are there only when their items are, so a crash loses at most what was being written.
 */
export class Segment {
  readonly path: string;
  /** When something of it was last used, in milliseconds since 1970. */
  usedAt: number;
  diskBytes: number;
  /** Items that were read and did not fit. */
  damagedItems = 0;
  readonly #files: CacheFiles;
  readonly #capacity: number;
  #records: Uint8Array = new Uint8Array(RECORD_BYTES * 64);
  #count = 0;
  /** Where the next item goes. */
  #dataEnd = HEADER_BYTES;
  #descriptor: Promise<number | undefined>;
  /** A descriptor that somebody uses must not be closed: its number may soon be another file's. */
  #users = 0;
  #closed = false;
  #touchedAt = 0;

  private constructor(
    files: CacheFiles,
    path: string,
    descriptor: Promise<number | undefined>,
    facts: FileFacts,
  ) {
    this.#files = files;
    this.path = path;
    this.#descriptor = descriptor;
    this.#capacity = facts.byteLength;
    this.usedAt = facts.usedAt;
    this.diskBytes = facts.diskBytes;
  }

  /** The segment in a file with all records that are there; undefined where there is none, or it is not of this format. */
  static async open(files: CacheFiles, path: string): Promise<Segment | undefined> {
    const facts = await files.stat(path);
    if (facts === undefined) return undefined;
    const segment = new Segment(files, path, files.open(path), facts);
    const header = new Uint8Array(HEADER_BYTES);
    if ((await segment.#read([header], 0)) && isHeader(header)) {
      await segment.refresh();
      return segment;
    }
    await segment.close();
    return undefined;
  }

  /** A new one; others see it when it is complete, under its name. */
  static async create(files: CacheFiles, path: string, capacity: number): Promise<Segment> {
    const unfinished = `${path}.new`;
    const descriptor = await files.create(unfinished, capacity);
    await files.write(descriptor, [encodeHeader()], 0);
    await files.rename(unfinished, path);
    return new Segment(files, path, Promise.resolve(descriptor), await files.facts(descriptor));
  }

  /** Records so far, of dropped and damaged items, too. */
  get count(): number {
    return this.#count;
  }

  hashAt(index: number): Uint8Array {
    return this.#records.subarray(index * RECORD_BYTES, index * RECORD_BYTES + HASH_BYTES);
  }

  /** Undefined where the item was dropped, or its record is damaged. */
  placeAt(index: number): ItemPlace | undefined {
    const place = readRecord(this.#records.subarray(index * RECORD_BYTES, (index + 1) * RECORD_BYTES));
    if (typeof place === "string") return undefined;
    const dataLimit = this.#capacity - (index + 1) * RECORD_BYTES;
    return place.offset >= HEADER_BYTES && place.offset + place.length <= dataLimit ? place : undefined;
  }

  /** How many of the items, from the first on, there is room for. */
  room(items: readonly NewItem[]): number {
    let end = this.#dataEnd;
    let records = this.#count;
    for (const [i, { bytes }] of items.entries()) {
      end += bytes.byteLength;
      records += 1;
      if (end > this.#capacity - records * RECORD_BYTES) return i;
    }
    return items.length;
  }

  /** Reads the records that others wrote since. */
  async refresh(): Promise<void> {
    const bytes = new Uint8Array(RECORDS_PER_READ * RECORD_BYTES);
    for (let from = this.#count; ; from += RECORDS_PER_READ) {
      const last = Math.min(
        from + RECORDS_PER_READ,
        Math.floor((this.#capacity - HEADER_BYTES) / RECORD_BYTES),
      );
      const part = bytes.subarray(0, Math.max(0, last - from) * RECORD_BYTES);
      if (part.byteLength === 0 || !(await this.#read([part], this.#capacity - last * RECORD_BYTES))) return;
      for (let index = from; index < last; index++) {
        const at = (last - 1 - index) * RECORD_BYTES;
        const record = part.subarray(at, at + RECORD_BYTES);
        const found = readRecord(record);
        if (found === "empty") return;
        this.#keep(index, record);
        // A damaged one may be half written; it counts when one behind it is whole.
        if (found !== "damaged") this.#count = index + 1;
      }
    }
  }

  /** Reads items; false when not all of their bytes are there. */
  async read(reads: readonly ItemRead[]): Promise<boolean> {
    const sorted = reads.filter(({ target }) => target.byteLength > 0);
    sorted.sort((left, right) => left.place.offset - right.place.offset);
    const runs: { offset: number; end: number; views: Uint8Array[] }[] = [];
    for (const { place, target } of sorted) {
      const run = runs.at(-1);
      if (run?.end === place.offset) {
        run.views.push(target);
        run.end += place.length;
      } else runs.push({ offset: place.offset, end: place.offset + place.length, views: [target] });
    }
    const whole = await Promise.all(runs.map(({ views, offset }) => this.#read(views, offset)));
    return whole.every(Boolean);
  }

  /**
   * Adds items for which there is room, the bytes before the records. Not while another call runs.
   * @returns the index of the first one's record.
   */
  async append(items: readonly NewItem[]): Promise<number> {
    const first = this.#count;
    const records = new Uint8Array(items.length * RECORD_BYTES);
    let end = this.#dataEnd;
    for (const [i, { hash, bytes }] of items.entries()) {
      const at = (items.length - 1 - i) * RECORD_BYTES;
      encodeRecord(records.subarray(at, at + RECORD_BYTES), hash, { offset: end, length: bytes.byteLength });
      end += bytes.byteLength;
    }
    await this.#use(async (descriptor) => {
      const views = items.map(({ bytes }) => bytes).filter(({ byteLength }) => byteLength > 0);
      await this.#files.write(descriptor, views, this.#dataEnd);
      await this.#files.write(descriptor, [records], this.#capacity - (first + items.length) * RECORD_BYTES);
      this.diskBytes = (await this.#files.facts(descriptor)).diskBytes;
    });
    for (let i = 0; i < items.length; i++) {
      const at = (items.length - 1 - i) * RECORD_BYTES;
      this.#keep(first + i, records.subarray(at, at + RECORD_BYTES));
    }
    this.#count = first + items.length;
    this.#dataEnd = end;
    return first;
  }

  /** Marks an item as damaged, for every process that opens the segment from now on; best effort. */
  async drop(index: number): Promise<void> {
    const record = new Uint8Array(RECORD_BYTES);
    encodeRecord(record, this.hashAt(index), "dropped");
    this.#keep(index, record);
    const position = this.#capacity - (index + 1) * RECORD_BYTES;
    await this.#use((descriptor) => this.#files.write(descriptor, [record], position)).catch(() => undefined);
  }

  /** Notes a use, on disk at most once in `everyMs`. */
  async touch(now: number, everyMs: number): Promise<void> {
    this.usedAt = Math.max(this.usedAt, now);
    if (now - this.#touchedAt < everyMs) return;
    this.#touchedAt = now;
    const facts = await this.#files.stat(this.path).catch(() => undefined);
    if (facts !== undefined) await this.#files.touch(this.path, facts);
  }

  async close(): Promise<void> {
    this.#closed = true;
    if (this.#users > 0) return;
    const opened = this.#descriptor;
    this.#descriptor = Promise.resolve(undefined);
    const descriptor = await opened.catch(() => undefined);
    if (descriptor !== undefined) await this.#files.close(descriptor).catch(() => undefined);
  }

  #keep(index: number, record: Uint8Array): void {
    const end = (index + 1) * RECORD_BYTES;
    if (end > this.#records.byteLength) {
      const grown = new Uint8Array(2 * end);
      grown.set(this.#records);
      this.#records = grown;
    }
    this.#records.set(record, index * RECORD_BYTES);
  }

  /** Whether all of the views were filled. */
  async #read(views: readonly Uint8Array[], position: number): Promise<boolean> {
    const wanted = views.reduce((sum, { byteLength }) => sum + byteLength, 0);
    return (
      (await this.#use((descriptor) => this.#files.read(descriptor, views, position)).catch(() => 0)) ===
      wanted
    );
  }

  async #use<T>(work: (descriptor: number) => Promise<T>): Promise<T> {
    this.#users += 1;
    try {
      const descriptor = this.#closed ? undefined : await this.#descriptor;
      if (descriptor === undefined) throw new Error(`${this.path} is not there any more.`);
      return await work(descriptor);
    } finally {
      this.#users -= 1;
      if (this.#closed) await this.close();
    }
  }
}

/** Whether a record of the segment is about the item. */
export function isAbout(segment: Segment, index: number, hash: Uint8Array): boolean {
  return equalBytes(segment.hashAt(index), hash);
}
