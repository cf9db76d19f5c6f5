import { randomUUID } from "node:crypto";
import { join } from "node:path";
import { equalBytes, toHex } from "../../core/bytes.ts";
import { invalidArgument } from "../../core/errors.ts";
import {
  CACHE_LEFTOVER_MS,
  CACHE_MAX_SEGMENTS,
  CACHE_MIN_BYTES,
  CACHE_SEGMENTS,
  CACHE_TOUCH_MS,
  ITEM_MAX_BYTES,
} from "../../core/limits.ts";
import type { Blake3 } from "../../core/ports.ts";
import { nodeFiles, type CacheFiles } from "./files.ts";
import { ItemTable, type ItemRecord } from "./item-table.ts";
import { HEADER_BYTES, RECORD_BYTES } from "./record.ts";
import { Segment, type ItemRead, type NewItem } from "./segment.ts";

export interface ItemCacheOptions {
  /** Made where it is missing, for this user alone. Any number of processes may share it. */
  readonly directory: string;
  /** Space that it may take on the disk. */
  readonly limitBytes: number;
  /** Bytes of one file, an item's greatest size. Default: a 64th of the limit. */
  readonly segmentBytes?: number;
  readonly files?: CacheFiles;
  readonly now?: () => number;
  /** Hears once why nothing is stored any more: a disk that is full or fails. */
  readonly onTrouble?: (error: Error) => void;
}

/** An item that is wanted, and where its bytes shall go. */
export interface WantedItem {
  readonly hash: Uint8Array;
  /** As long as the item must be. */
  readonly target: Uint8Array;
}

const SUFFIX = ".items";
/** A write may begin and end in the middle of a block of the file system, at both ends of the file. */
const ROUNDING_BYTES = 4 * 4_096;
/** Items of one file that were found damaged, and condemn it. */
const DAMAGED_ITEMS_MAX = 2;

/**
 * Items on disk by their BLAKE3, as a bounded number of segment files (see record.ts). Each process appends to a segment
 * of its own and reads all of them, so no lock is needed, and none can be left behind. What is read is *not* verified
 * here: whoever reads compares with the hash, as with bytes from anywhere, and drops what does not fit.
 *
 * The segment that was not used for longest goes first, but none that was used since a moment that the storing stream
 * names: a run that goes through more than the cache holds keeps what fits, in place of throwing each item out just
 * before it comes round again.
 *
 * Trouble with the disk never fails a call: what cannot be read is not there, and what cannot be stored is not stored.
 */
export class ItemCache {
  readonly #directory: string;
  readonly #limit: number;
  readonly #segmentBytes: number;
  readonly #files: CacheFiles;
  readonly #now: () => number;
  readonly #onTrouble: (error: Error) => void;
  readonly #table = new ItemTable();
  /** By path. */
  readonly #segments = new Map<string, Segment>();
  /** The one that this process writes. */
  #own: Segment | undefined;
  #bytesSinceLook = 0;
  #stopped = false;
  /** The last task that changes files or the list of them. */
  #tasks: Promise<unknown> = Promise.resolve();

  private constructor(options: ItemCacheOptions) {
    const { limitBytes } = options;
    this.#directory = options.directory;
    this.#limit = limitBytes;
    this.#segmentBytes =
      options.segmentBytes ??
      Math.max(Math.ceil(limitBytes / CACHE_SEGMENTS), ITEM_MAX_BYTES + HEADER_BYTES + RECORD_BYTES);
    this.#files = options.files ?? nodeFiles;
    this.#now = options.now ?? Date.now;
    this.#onTrouble = options.onTrouble ?? (() => undefined);
  }

  /**
   * Reads the records of all items, about 50 bytes each.
   * @throws DataStreamError `invalid_argument` for a limit that is too small; the system's error where the directory
   *   cannot be made or read.
   */
  static async open(options: ItemCacheOptions): Promise<ItemCache> {
    if (options.segmentBytes === undefined && !(options.limitBytes >= CACHE_MIN_BYTES))
      throw invalidArgument("cache_limit", `must be at least ${CACHE_MIN_BYTES} bytes.`, {
        limit: CACHE_MIN_BYTES,
      });
    const cache = new ItemCache(options);
    await cache.#look();
    await cache.#makeRoom(0, Infinity);
    return cache;
  }

  /** Items that can be had. */
  get count(): number {
    return this.#table.size;
  }

  /** Space on the disk, of other processes' files as of the last look. */
  get diskBytes(): number {
    let sum = 0;
    for (const { diskBytes } of this.#segments.values()) sum += diskBytes;
    return sum;
  }

  has(hash: Uint8Array): boolean {
    return this.#table.find(hash) !== undefined;
  }

  /** Fills all targets with what is stored, or says that it cannot. The bytes are not verified. */
  async read(wanted: readonly WantedItem[]): Promise<boolean> {
    const now = this.#now();
    const reads = new Map<Segment, ItemRead[]>();
    for (const { hash, target } of wanted) {
      const record = this.#table.find(hash);
      const place = record?.segment.placeAt(record.index);
      if (record === undefined || place?.length !== target.byteLength) return false;
      const ofSegment = reads.get(record.segment);
      if (ofSegment === undefined) reads.set(record.segment, [{ place, target }]);
      else ofSegment.push({ place, target });
    }
    const filled = await Promise.all(
      [...reads].map(async ([segment, ofSegment]) => {
        const touched = segment.touch(now, CACHE_TOUCH_MS);
        const isWhole = await segment.read(ofSegment);
        await touched;
        if (!isWhole) await this.#exclusive(() => this.#forget(segment));
        return isWhole;
      }),
    );
    return filled.every(Boolean);
  }

  /**
   * Stores what is not there yet; the bytes must not change until it resolves.
   * @param keepSince segments that were used since then, in milliseconds since 1970, are not thrown out for it. Where no
   *   other is left, nothing is stored.
   */
  put(items: readonly NewItem[], keepSince: number): Promise<void> {
    return this.#exclusive(async () => {
      if (this.#stopped) return;
      try {
        await this.#store(this.#missing(items), keepSince);
      } catch (error) {
        this.#stopped = true;
        this.#onTrouble(error as Error);
      }
    });
  }

  /** Never offers the item's stored bytes again. */
  drop(hash: Uint8Array): Promise<void> {
    return this.#exclusive(async () => {
      for (let found = this.#table.find(hash); found !== undefined; found = this.#table.find(hash))
        await this.#dropRecord(found);
    });
  }

  /**
   * Reads items again and drops those that do not fit their hashes, and files with several of them wholly: a machine that
   * lost its power leaves more damage where there is some.
   */
  check(hashes: readonly Uint8Array[], blake3: Blake3): Promise<void> {
    return this.#exclusive(async () => {
      for (const hash of hashes) {
        for (let found = this.#table.find(hash); found !== undefined; found = this.#table.find(hash)) {
          if (await isRight(found, hash, blake3)) break;
          await this.#dropRecord(found);
          found.segment.damagedItems += 1;
          if (found.segment.damagedItems >= DAMAGED_ITEMS_MAX) await this.#expel(found.segment);
        }
      }
    });
  }

  async #dropRecord(record: ItemRecord): Promise<void> {
    this.#table.remove(record);
    await record.segment.drop(record.index);
  }

  async #expel(segment: Segment): Promise<void> {
    await this.#files.remove(segment.path).catch(() => undefined);
    await this.#forget(segment);
  }

  /** Looks at what other processes stored and threw out. */
  refresh(): Promise<void> {
    return this.#exclusive(() => this.#look().catch(() => undefined));
  }

  /** Waits for what is being stored. The files stay. */
  async close(): Promise<void> {
    this.#stopped = true;
    await this.#exclusive(async () => {
      for (const segment of this.#segments.values()) await this.#forget(segment);
    });
  }

  #exclusive<T>(task: () => Promise<T>): Promise<T> {
    const done = this.#tasks.then(task);
    this.#tasks = done.catch(() => undefined);
    return done;
  }

  async #look(): Promise<void> {
    this.#bytesSinceLook = 0;
    const names = await this.#files.list(this.#directory);
    const paths = new Set(names.map((name) => join(this.#directory, name)));
    for (const segment of this.#segments.values()) if (!paths.has(segment.path)) await this.#forget(segment);
    await Promise.all([...paths].map((path) => this.#lookAt(path)));
  }

  async #lookAt(path: string): Promise<void> {
    const facts = await this.#files.stat(path);
    if (facts === undefined) return;
    const known = this.#segments.get(path);
    if (known === undefined) {
      const segment = path.endsWith(SUFFIX) ? await Segment.open(this.#files, path) : undefined;
      if (segment === undefined) {
        const isOurs = path.endsWith(SUFFIX) || path.endsWith(`${SUFFIX}.new`);
        if (isOurs && this.#now() - facts.writtenAt > CACHE_LEFTOVER_MS) await this.#files.remove(path);
        return;
      }
      this.#segments.set(path, segment);
      this.#table.add(segment, 0);
    } else if (known !== this.#own) {
      const before = known.count;
      known.usedAt = Math.max(known.usedAt, facts.usedAt);
      known.diskBytes = facts.diskBytes;
      await known.refresh();
      this.#table.add(known, before);
    }
  }

  async #forget(segment: Segment): Promise<void> {
    if (this.#segments.get(segment.path) !== segment) return;
    this.#segments.delete(segment.path);
    this.#table.removeSegment(segment);
    if (segment === this.#own) this.#own = undefined;
    await segment.close();
  }

  /** Each once, of those that fit a segment. */
  #missing(items: readonly NewItem[]): NewItem[] {
    const most = this.#segmentBytes - HEADER_BYTES - RECORD_BYTES;
    const missing = new Map<string, NewItem>();
    for (const item of items)
      if (item.bytes.byteLength <= most && !this.has(item.hash)) missing.set(toHex(item.hash), item);
    return [...missing.values()];
  }

  async #store(items: readonly NewItem[], keepSince: number): Promise<void> {
    for (let left = items; left.length > 0;) {
      const count = Math.max(1, this.#own?.room(left) ?? 0);
      const part = left.slice(0, count);
      const bytes = part.reduce((sum, item) => sum + item.bytes.byteLength + RECORD_BYTES, ROUNDING_BYTES);
      if (this.#bytesSinceLook > this.#limit / CACHE_MAX_SEGMENTS) await this.#look();
      if (!(await this.#makeRoom(bytes, keepSince))) return;
      // Looking and making room may have lost it.
      const own = this.#own;
      if (own === undefined || own.room(part) < part.length) {
        await this.#begin();
        continue;
      }
      const first = await own.append(part);
      this.#table.add(own, first);
      own.usedAt = this.#now();
      this.#bytesSinceLook += bytes;
      left = left.slice(count);
    }
  }

  /** Starts a segment; it becomes this process's own. */
  async #begin(): Promise<void> {
    const path = join(this.#directory, `${randomUUID()}${SUFFIX}`);
    this.#own = await Segment.create(this.#files, path, this.#segmentBytes);
    this.#segments.set(path, this.#own);
    this.#own.usedAt = this.#now();
  }

  /** Whether there is room for so many bytes more, after throwing out what was not used since `keepSince`. */
  async #makeRoom(bytes: number, keepSince: number): Promise<boolean> {
    while (this.diskBytes + bytes > this.#limit || this.#segments.size >= CACHE_MAX_SEGMENTS) {
      const others = [...this.#segments.values()].filter((segment) => segment !== this.#own);
      const oldest = others.reduce<Segment | undefined>(
        (least, segment) => (least === undefined || segment.usedAt < least.usedAt ? segment : least),
        undefined,
      );
      if (oldest === undefined) return this.diskBytes + bytes <= this.#limit;
      const isFull = this.diskBytes + bytes > this.#limit;
      if (isFull && oldest.usedAt >= keepSince) return false;
      await this.#files.remove(oldest.path);
      await this.#forget(oldest);
    }
    return true;
  }
}

async function isRight({ segment, index }: ItemRecord, hash: Uint8Array, blake3: Blake3): Promise<boolean> {
  const place = segment.placeAt(index);
  if (place === undefined) return false;
  const target = new Uint8Array(place.length);
  return (await segment.read([{ place, target }])) && equalBytes(blake3.hash(target), hash);
}
