/** Items of known bytes, and a file system that dies in the middle, for tests of the cache. */
import { mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { nodeFiles, type CacheFiles } from "../../../companion/cache/files.ts";
import type { NewItem } from "../../../companion/cache/segment.ts";
import { kernels, noise } from "../../stream/fixture.ts";

export interface KnownItem extends NewItem {
  readonly hash: Uint8Array;
  readonly bytes: Uint8Array;
}

const known = new Map<string, KnownItem>();

export function itemOf(id: number, byteLength: number): KnownItem {
  const key = `${id}/${byteLength}`;
  let item = known.get(key);
  if (item === undefined) {
    const bytes = noise(byteLength, id);
    item = { hash: kernels.blake3.hash(bytes), bytes };
    known.set(key, item);
  }
  return item;
}

export function scratchDirectory(): { path: string; remove: () => void } {
  const path = mkdtempSync(join(tmpdir(), "cyxcloud-cache-"));
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}

/** Space on disk that the files of a directory take. */
export function diskBytes(directory: string): number {
  return readdirSync(directory).reduce((sum, name) => sum + statSync(join(directory, name)).blocks * 512, 0);
}

/**
 * The real file system, for a process that dies during its `after`th change: of a write only a part of the bytes comes
 * through, and nothing works any more.
 */
export function dyingFiles(after: number, part: number): CacheFiles & { readonly isDead: () => boolean } {
  let left = after;
  let dead = false;
  const dies = (): boolean => {
    if (dead) throw new Error("The process is dead.");
    left -= 1;
    dead = left <= 0;
    return dead;
  };
  const change =
    <A extends unknown[], R>(call: (...parameters: A) => Promise<R>) =>
    async (...parameters: A): Promise<R> => {
      if (dies()) throw new Error("The process dies.");
      return call(...parameters);
    };
  return {
    ...nodeFiles,
    isDead: () => dead,
    create: change(nodeFiles.create),
    rename: change(nodeFiles.rename),
    remove: change(nodeFiles.remove),
    async write(descriptor, views, position) {
      if (!dies()) return nodeFiles.write(descriptor, views, position);
      const all = Buffer.concat(views);
      await nodeFiles.write(descriptor, [all.subarray(0, Math.floor(all.length * part))], position);
      throw new Error("The process dies.");
    },
  };
}
