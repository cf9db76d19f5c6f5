import { close, fstat, ftruncate, open, readv, writev, type BigIntStats, type Stats } from "node:fs";
import { mkdir, readdir, rename, stat, unlink, utimes } from "node:fs/promises";

/** What the cache needs of a file system; tests let it fail in the middle. */
export interface CacheFiles {
  /** Names in a directory, which is made where it is missing, for this user alone. */
  readonly list: (directory: string) => Promise<readonly string[]>;
  /** Undefined where there is no such file. */
  readonly stat: (path: string) => Promise<FileFacts | undefined>;
  /** A new file for this user alone, of a length that takes no space until it is written. */
  readonly create: (path: string, byteLength: number) => Promise<number>;
  /** Undefined where there is no such file. */
  readonly open: (path: string) => Promise<number | undefined>;
  readonly facts: (descriptor: number) => Promise<FileFacts>;
  /** Fills the views one after the other; returns how many bytes there were. */
  readonly read: (descriptor: number, views: readonly Uint8Array[], position: number) => Promise<number>;
  readonly write: (descriptor: number, views: readonly Uint8Array[], position: number) => Promise<void>;
  readonly close: (descriptor: number) => Promise<void>;
  readonly rename: (from: string, to: string) => Promise<void>;
  /** Nothing happens where there is no such file. */
  readonly remove: (path: string) => Promise<void>;
  /** Sets the time of the last use; best effort. */
  readonly touch: (path: string, facts: FileFacts) => Promise<void>;
}

export interface FileFacts {
  /** As told to readers. */
  readonly byteLength: number;
  /** Space that it takes on the disk. */
  readonly diskBytes: number;
  /** When it was last read or written, in milliseconds since 1970. */
  readonly usedAt: number;
  /** When it was last written. */
  readonly writtenAt: number;
}

/** Blocks that `stat` counts, whatever the file system's own are (POSIX leaves the unit open; every system takes this one). */
const STAT_BLOCK_BYTES = 512;
/** Views of one call; Linux takes 1,024. */
const VIEWS_MAX = 1_024;

export const nodeFiles: CacheFiles = {
  async list(directory) {
    await mkdir(directory, { recursive: true, mode: 0o700 });
    return readdir(directory);
  },
  stat: (path) => stat(path).then(factsOf, ignoreMissing),
  async create(path, byteLength) {
    const descriptor = await called<number>((done) => open(path, "wx+", 0o600, done));
    await called<void>((done) => ftruncate(descriptor, byteLength, done));
    return descriptor;
  },
  open: (path) => called<number>((done) => open(path, "r+", done)).catch(ignoreMissing),
  facts: async (descriptor) => factsOf(await called<Stats>((done) => fstat(descriptor, done))),
  async read(descriptor, views, position) {
    let total = 0;
    for (const part of parts(views)) {
      const wanted = part.reduce((sum, view) => sum + view.byteLength, 0);
      const count = await called<number>((done) => readv(descriptor, part, position + total, done));
      total += count;
      if (count < wanted) return total;
    }
    return total;
  },
  async write(descriptor, views, position) {
    let at = position;
    for (const part of parts(views)) {
      let left = part;
      while (left.length > 0) {
        const count = await called<number>((done) => writev(descriptor, left, at, done));
        at += count;
        left = behind(left, count);
      }
    }
  },
  close: (descriptor) => called<void>((done) => close(descriptor, done)),
  rename,
  remove: (path) => unlink(path).catch(ignoreMissing),
  touch: (path, { writtenAt }) => utimes(path, Date.now() / 1000, writtenAt / 1000).catch(() => undefined),
};

function factsOf(stats: Stats | BigIntStats): FileFacts {
  return {
    byteLength: Number(stats.size),
    diskBytes: Number(stats.blocks) * STAT_BLOCK_BYTES,
    usedAt: Math.max(Number(stats.atimeMs), Number(stats.mtimeMs)),
    writtenAt: Number(stats.mtimeMs),
  };
}

function called<T>(call: (done: (error: Error | null, value?: T) => void) => void): Promise<T> {
  return new Promise((resolve, reject) =>
    call((error, value) => (error === null ? resolve(value as T) : reject(error))),
  );
}

function ignoreMissing(error: NodeJS.ErrnoException): undefined {
  if (error.code !== "ENOENT") throw error;
}

function* parts(views: readonly Uint8Array[]): Generator<readonly Uint8Array[]> {
  for (let at = 0; at < views.length; at += VIEWS_MAX) yield views.slice(at, at + VIEWS_MAX);
}

/** What is left of the views behind the first `count` bytes; empty ones are dropped. */
function behind(views: readonly Uint8Array[], count: number): readonly Uint8Array[] {
  let skip = count;
  const left: Uint8Array[] = [];
  for (const view of views) {
    const rest = view.subarray(Math.min(skip, view.byteLength));
    skip -= Math.min(skip, view.byteLength);
    if (rest.byteLength > 0) left.push(rest);
  }
  return left;
}
