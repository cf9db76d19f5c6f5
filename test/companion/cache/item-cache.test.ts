import fc from "fast-check";
import {
  readdirSync,
  readFileSync,
  statSync,
  truncateSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { ItemCache, type ItemCacheOptions } from "../../../companion/cache/item-cache.ts";
import { kernels } from "../../stream/fixture.ts";
import { diskBytes, dyingFiles, itemOf, scratchDirectory, type KnownItem } from "./store.ts";

const KIB = 1024;
const SMALL = { segmentBytes: 64 * KIB, limitBytes: 1024 * KIB };
let scratch: ReturnType<typeof scratchDirectory>;
beforeEach(() => {
  scratch = scratchDirectory();
});
afterEach(() => scratch.remove());

const open = (options: Partial<ItemCacheOptions> = {}): Promise<ItemCache> =>
  ItemCache.open({ directory: scratch.path, ...SMALL, ...options });

async function read(cache: ItemCache, { hash, bytes }: KnownItem): Promise<"right" | "wrong" | "missing"> {
  const target = new Uint8Array(new SharedArrayBuffer(bytes.byteLength));
  if (!(await cache.read([{ hash, target }]))) return "missing";
  return Buffer.compare(target, bytes) === 0 ? "right" : "wrong";
}

/** Everything that a cache offers is right. */
async function expectRight(cache: ItemCache, items: Iterable<KnownItem>): Promise<void> {
  for (const item of items) if (cache.has(item.hash)) expect(await read(cache, item)).toBe("right");
}

const someItems = fc.array(
  fc
    .record({ id: fc.nat({ max: 60 }), size: fc.constantFrom(0, 1, 700, 5_000, 20_000, 60_000) })
    .map(({ id, size }) => itemOf(id, size)),
  { maxLength: 8 },
);
const command = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({ do: fc.constant("put" as const), items: someItems, who: fc.nat({ max: 1 }) }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("refresh" as const), who: fc.nat({ max: 1 }) }) },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant("drop" as const), items: someItems, who: fc.nat({ max: 1 }) }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("restart" as const), who: fc.nat({ max: 1 }) }) },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant("crash" as const),
      who: fc.nat({ max: 1 }),
      after: fc.integer({ min: 1, max: 12 }),
      part: fc.double({ min: 0, max: 1, noNaN: true }),
    }),
  },
);

test("two caches on one folder offer nothing but right bytes and keep the limit, whenever one dies", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(command, { maxLength: 40 }), async (commands) => {
      const folder = scratchDirectory();
      const openHere = (options: Partial<ItemCacheOptions> = {}): Promise<ItemCache> =>
        ItemCache.open({ directory: folder.path, ...SMALL, ...options });
      const caches = [await openHere(), await openHere()] as [ItemCache, ItemCache];
      const dying: (ReturnType<typeof dyingFiles> | undefined)[] = [undefined, undefined];
      const seen = new Set<KnownItem>();
      try {
        for (const next of commands) {
          const { who } = next;
          if (next.do === "put") {
            for (const item of next.items) seen.add(item);
            await caches[who]?.put(next.items, Infinity);
          } else if (next.do === "refresh") await caches[who]?.refresh();
          else if (next.do === "drop") for (const { hash } of next.items) await caches[who]?.drop(hash);
          else {
            if (next.do === "restart") await caches[who]?.close();
            dying[who] = next.do === "crash" ? dyingFiles(next.after, next.part) : undefined;
            // What opens may die of the limit that it has to enforce.
            caches[who] = await openHere(dying[who] && { files: dying[who] }).catch(() => openHere());
          }
          if (dying[who]?.isDead() === true) {
            caches[who] = await openHere();
            dying[who] = undefined;
          }
          await expectRight(caches[who] as ItemCache, seen);
          // One process may not know yet what the other wrote: a 256th of the limit, and a begun segment's ends.
          expect(diskBytes(folder.path)).toBeLessThanOrEqual(SMALL.limitBytes + 3 * 64 * KIB);
        }
        await Promise.all(caches.map((cache) => cache.refresh()));
        const reopened = await openHere();
        expect(diskBytes(folder.path)).toBeLessThanOrEqual(SMALL.limitBytes);
        await expectRight(reopened, seen);
        await reopened.close();
      } finally {
        await Promise.all(caches.map((cache) => cache.close()));
        folder.remove();
      }
    }),
    { numRuns: 60 },
  );
}, 120_000);

test("what was stored before a crash is there after it, wherever it happens", async () => {
  const items = Array.from({ length: 30 }, (_, id) => itemOf(id, 3_000));
  for (let after = 1; after < 40; after++) {
    const folder = scratchDirectory();
    const files = dyingFiles(after, (after % 5) / 4);
    const dying = await ItemCache.open({ directory: folder.path, ...SMALL, files });
    const stored: KnownItem[] = [];
    for (let at = 0; at < items.length && !files.isDead(); at += 3) {
      await dying.put(items.slice(at, at + 3), 0);
      if (!files.isDead()) stored.push(...items.slice(at, at + 3));
    }
    const cache = await ItemCache.open({ directory: folder.path, ...SMALL });
    for (const item of stored) expect(await read(cache, item)).toBe("right");
    await expectRight(cache, items);
    await cache.close();
    folder.remove();
  }
});

test("one process keeps the limit after every store, and what it stored last", async () => {
  const cache = await open();
  for (let id = 0; id < 400; id++) {
    const item = itemOf(id, (id * 7919) % 60_000);
    await cache.put([item], Infinity);
    expect(diskBytes(scratch.path)).toBeLessThanOrEqual(SMALL.limitBytes);
    expect(cache.diskBytes).toBe(diskBytes(scratch.path));
    expect(await read(cache, item)).toBe("right");
  }
  expect(cache.count).toBeGreaterThan(10);
  await cache.close();
  const smaller = await open({ limitBytes: 300 * KIB });
  expect(diskBytes(scratch.path)).toBeLessThanOrEqual(300 * KIB);
  expect(smaller.count).toBeGreaterThan(3);
  await smaller.close();
});

test("an item is stored once, and many small ones share a file", async () => {
  const cache = await open();
  const items = Array.from({ length: 1_000 }, (_, id) => itemOf(id, 40));
  await cache.put([...items, ...items], 0);
  await cache.put(items, 0);
  expect(cache.count).toBe(1_000);
  expect(readdirSync(scratch.path)).toHaveLength(2);
  const again = await open();
  expect(again.count).toBe(1_000);
  const targets = items.map(({ hash, bytes }) => ({ hash, target: new Uint8Array(bytes.byteLength) }));
  expect(await again.read(targets)).toBe(true);
  for (const [i, { target }] of targets.entries()) expect(target).toEqual(items[i]?.bytes);
  await Promise.all([cache.close(), again.close()]);
});

test("an item larger than a segment is left out, and does not hinder the others", async () => {
  const cache = await open();
  const [large, small] = [itemOf(1, SMALL.segmentBytes), itemOf(2, 10)];
  await cache.put([large, small], 0);
  expect([cache.has(large.hash), cache.has(small.hash)]).toEqual([false, true]);
  expect(await cache.read([{ hash: small.hash, target: new Uint8Array(11) }])).toBe(false);
  await cache.close();
});

describe("eviction", () => {
  /** Fills a cache: ten segments of one item each. */
  async function full(now: { time: number }): Promise<{ cache: ItemCache; items: KnownItem[] }> {
    const cache = await open({ limitBytes: 640 * KIB, now: () => now.time });
    const items = Array.from({ length: 10 }, (_, id) => itemOf(id, 55_000));
    for (const item of items) {
      now.time += 1_000;
      await cache.put([item], 0);
    }
    for (const item of items) expect(cache.has(item.hash)).toBe(true);
    return { cache, items };
  }
  const start = Date.now() + 1e6;

  test("throws out what was not used for longest", async () => {
    const now = { time: start };
    const { cache, items } = await full(now);
    now.time += 1_000;
    for (const id of [0, 1, 2, 5]) expect(await read(cache, items[id] as KnownItem)).toBe("right");
    now.time += 1_000;
    await cache.put([itemOf(20, 55_000), itemOf(21, 55_000)], Infinity);
    expect(items.map(({ hash }) => cache.has(hash))).toEqual([
      true,
      true,
      true,
      false,
      false,
      true,
      true,
      true,
      true,
      true,
    ]);
    await cache.close();
  });

  test("spares what was used since a moment, and stores nothing where all was", async () => {
    const now = { time: start };
    const { cache, items } = await full(now);
    await cache.put([itemOf(20, 55_000)], start);
    expect(cache.has(itemOf(20, 55_000).hash)).toBe(false);
    for (const item of items) expect(cache.has(item.hash)).toBe(true);
    await cache.put([itemOf(20, 55_000)], start + 3_500);
    expect(items.map(({ hash }) => cache.has(hash)).indexOf(true)).toBe(1);
    expect(cache.has(itemOf(20, 55_000).hash)).toBe(true);
    await cache.close();
  });

  test("heeds what another process used", async () => {
    const { cache, items } = await full({ time: start });
    for (const name of readdirSync(scratch.path)) utimesSync(join(scratch.path, name), 1e9, 1e9);
    const [other, third] = [await open({ limitBytes: 640 * KIB }), await open({ limitBytes: 640 * KIB })];
    expect(await read(other, items[4] as KnownItem)).toBe("right");
    await third.refresh();
    await third.put(
      Array.from({ length: 9 }, (_, i) => itemOf(20 + i, 55_000)),
      Infinity,
    );
    expect(items.map(({ hash }) => third.has(hash))).toEqual(items.map((_, id) => id === 4));
    await Promise.all([cache.close(), other.close(), third.close()]);
  });
});

describe("what others do to the folder", () => {
  test("a file that is thrown out or cut short is forgotten, one that is foreign left alone", async () => {
    const [cache, other] = [await open(), await open()];
    const items = [itemOf(1, 50_000), itemOf(2, 50_000), itemOf(3, 50_000)];
    for (const item of items) await cache.put([item], 0);
    await other.refresh();
    expect(other.count).toBe(3);
    writeFileSync(join(scratch.path, "notes.txt"), "mine");
    writeFileSync(join(scratch.path, "foreign.items"), "not ours, but young");
    const [first, second] = readdirSync(scratch.path).filter((name) => name.length > 30) as [string, string];
    unlinkSync(join(scratch.path, first));
    truncateSync(join(scratch.path, second), 100);
    await other.refresh();
    expect(other.count).toBe(2);
    const left = [];
    for (const item of items) left.push(await read(other, item));
    expect(left.toSorted()).toEqual(["missing", "missing", "right"]);
    expect(other.count).toBe(1);
    await cache.put(items, 0);
    expect(readdirSync(scratch.path)).toContain("notes.txt");
    expect(readdirSync(scratch.path)).toContain("foreign.items");
    await Promise.all([cache.close(), other.close()]);
  });

  test("leftovers of a crash are swept when they are old", async () => {
    const [young, old] = ["a.items.new", "b.items.new"];
    for (const name of [young, old]) writeFileSync(join(scratch.path, name), new Uint8Array(1000));
    utimesSync(join(scratch.path, old), 1e9, 1e9);
    await (await open()).close();
    expect(readdirSync(scratch.path)).toEqual([young]);
  });

  test("a dropped item stays dropped after a restart, and may be stored again", async () => {
    const cache = await open();
    const [item, neighbour] = [itemOf(1, 1_000), itemOf(2, 1_000)];
    await cache.put([item, neighbour], 0);
    await cache.drop(item.hash);
    expect(cache.has(item.hash)).toBe(false);
    await cache.close();
    const again = await open();
    expect([again.has(item.hash), again.has(neighbour.hash)]).toEqual([false, true]);
    await again.put([item], 0);
    expect(await read(again, item)).toBe("right");
    await again.close();
  });

  test("checking drops what does not fit alone, and a file with several such items wholly", async () => {
    const cache = await open();
    const items = Array.from({ length: 8 }, (_, id) => itemOf(id, 5_000));
    await cache.put(items, 0);
    const [name] = readdirSync(scratch.path) as [string];
    const path = join(scratch.path, name);
    const damage = (id: number): void => {
      const bytes = readFileSync(path);
      bytes[64 + id * 5_000 + 7] = (bytes[64 + id * 5_000 + 7] as number) ^ 1;
      writeFileSync(path, bytes);
    };
    damage(2);
    const hashes = items.map(({ hash }) => hash);
    await cache.check(hashes, kernels.blake3);
    expect(hashes.map((hash) => cache.has(hash)).indexOf(false)).toBe(2);
    expect(cache.count).toBe(7);
    damage(5);
    await cache.check(hashes, kernels.blake3);
    expect(cache.count).toBe(0);
    expect(readdirSync(scratch.path)).toEqual([]);
    await cache.put(items, 0);
    expect(cache.count).toBe(8);
    await cache.close();
  });

  test("files and folder are for this user alone", async () => {
    const directory = join(scratch.path, "made");
    const cache = await open({ directory });
    await cache.put([itemOf(1, 10)], 0);
    expect(statSync(directory).mode & 0o777).toBe(0o700);
    for (const name of readdirSync(directory))
      expect(statSync(join(directory, name)).mode & 0o777).toBe(0o600);
    await cache.close();
  });
});

test("a disk that fails ends storing, and says so once", async () => {
  const troubles: Error[] = [];
  const files = { ...dyingFiles(1e9, 0), write: () => Promise.reject(new Error("ENOSPC")) };
  const cache = await open({ files, onTrouble: (error) => troubles.push(error) });
  await cache.put([itemOf(1, 10)], 0);
  await cache.put([itemOf(2, 10)], 0);
  expect(troubles.map(({ message }) => message)).toEqual(["ENOSPC"]);
  expect(cache.count).toBe(0);
  await cache.close();
});

test("a limit that is too small is refused", async () => {
  await expect(ItemCache.open({ directory: scratch.path, limitBytes: 1000 })).rejects.toMatchObject({
    code: "invalid_argument",
    details: { field: "cache_limit" },
  });
});
