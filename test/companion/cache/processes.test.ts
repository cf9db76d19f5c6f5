/** Several processes on one folder, one of which is killed while it stores. */
import { fork, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { ItemCache } from "../../../companion/cache/item-cache.ts";
import { diskBytes, itemOf, scratchDirectory } from "./store.ts";

const LIMIT = 4 * 1024 * 1024;
const ITEM_BYTES = 20_000;

function start(directory: string, first: number, count: number): ChildProcess {
  const file = fileURLToPath(new URL("store.worker.ts", import.meta.url));
  return fork(file, [directory, String(LIMIT), String(first), String(count), String(ITEM_BYTES)], {
    execArgv: [],
  });
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
}

test("a process that is killed leaves what it had stored, and the others go on", async () => {
  const folder = scratchDirectory();
  const killed = start(folder.path, 0, 100_000);
  const others = [start(folder.path, 200, 60), start(folder.path, 300, 60)];
  const stored: number[] = [];
  killed.on("message", ({ stored: id }: { stored: number }) => {
    stored.push(id);
    if (id === 60) killed.kill("SIGKILL");
  });
  await Promise.all([killed, ...others].map(ended));
  const cache = await ItemCache.open({ directory: folder.path, limitBytes: LIMIT, segmentBytes: LIMIT / 16 });
  expect(stored.length).toBeGreaterThanOrEqual(61);
  const ids = [...stored, ...Array.from({ length: 60 }, (_, i) => [200 + i, 300 + i]).flat()];
  for (const id of ids) {
    const { hash, bytes } = itemOf(id, ITEM_BYTES);
    const target = new Uint8Array(ITEM_BYTES);
    expect(await cache.read([{ hash, target }]), `item ${id}`).toBe(true);
    expect(Buffer.compare(target, bytes)).toBe(0);
  }
  await cache.close();
  folder.remove();
});

test("three processes that store more than the limit keep it together", async () => {
  const folder = scratchDirectory();
  const children = [0, 1000, 2000].map((first) => start(folder.path, first, 150));
  let most = 0;
  for (const child of children) child.on("message", () => (most = Math.max(most, diskBytesNow(folder.path))));
  await Promise.all(children.map(ended));
  // Each sees what the others wrote only now and then: a 256th of the limit, and the ends of a file that was begun.
  expect(most).toBeLessThanOrEqual(LIMIT * 1.1);
  expect(most).toBeGreaterThan(LIMIT * 0.6);
  const cache = await ItemCache.open({ directory: folder.path, limitBytes: LIMIT, segmentBytes: LIMIT / 16 });
  expect(diskBytes(folder.path)).toBeLessThanOrEqual(LIMIT);
  for (const first of [0, 1000, 2000])
    for (let id = first; id < first + 150; id++) {
      const { hash, bytes } = itemOf(id, ITEM_BYTES);
      const target = new Uint8Array(ITEM_BYTES);
      if (cache.has(hash) && (await cache.read([{ hash, target }])))
        expect(Buffer.compare(target, bytes)).toBe(0);
    }
  expect(cache.count).toBeGreaterThan(100);
  await cache.close();
  folder.remove();
});

/** A file may go between being listed and being looked at. */
function diskBytesNow(directory: string): number {
  try {
    return diskBytes(directory);
  } catch {
    return 0;
  }
}
