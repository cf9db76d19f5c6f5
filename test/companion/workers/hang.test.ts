import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { closeSync, constants, mkdtempSync, openSync, readSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { createMappedFile } from "../../../companion/memory/mapped-file.ts";
import { subReference, viewOf } from "../../../companion/memory/reference.ts";
import { HangWatch, type Every } from "../../../companion/workers/hang-watch.ts";
import { WorkerPool } from "../../../companion/workers/pool.ts";
import { DECODE_ITEM_MS } from "../../../core/limits.ts";
import { dataOf, imageItems, makeJob, type TestJob } from "./jobs.ts";

const HANGING = new URL("./hanging.worker.ts", import.meta.url);
const QUARTER = DECODE_ITEM_MS / 4;

/** Time that passes when the test says so. */
class ManualTime {
  readonly #timers = new Set<{ readonly ms: number; readonly callback: () => void; left: number }>();

  readonly every: Every = (ms, callback) => {
    const timer = { ms, callback, left: ms };
    this.#timers.add(timer);
    return () => this.#timers.delete(timer);
  };

  get timers(): number {
    return this.#timers.size;
  }

  pass(ms: number): void {
    for (const timer of this.#timers) {
      for (timer.left -= ms; timer.left <= 0 && this.#timers.has(timer); timer.left += timer.ms)
        timer.callback();
    }
  }
}

let time: ManualTime;
beforeEach(() => {
  time = new ManualTime();
});

describe("a thread counts as hanging", () => {
  let progress = 0;
  const events: string[] = [];
  let watch: HangWatch;
  beforeEach(() => {
    progress = 0;
    events.length = 0;
    watch = new HangWatch(
      time.every,
      () => progress,
      () => events.push("hangs"),
      () => events.push("lost"),
    );
    watch.start();
  });

  test("after the limit without progress, and as lost a quarter later", () => {
    time.pass(DECODE_ITEM_MS - 1);
    expect(events).toEqual([]);
    time.pass(1);
    expect(events).toEqual(["hangs"]);
    time.pass(QUARTER);
    expect(events).toEqual(["hangs", "lost"]);
    expect(time.timers).toBe(0);
  });

  test("never while each item takes less, however long it all takes", () => {
    for (let item = 0; item < 100; item++) {
      time.pass(DECODE_ITEM_MS - QUARTER);
      progress++;
    }
    expect(events).toEqual([]);
  });

  test("not while it has nothing to do", () => {
    watch.stop();
    time.pass(10 * DECODE_ITEM_MS);
    watch.start();
    time.pass(DECODE_ITEM_MS - QUARTER);
    expect(events).toEqual([]);
  });
});

describe("a job with an item that is never decoded", () => {
  let folder: string;
  let pool: WorkerPool;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "cyxcloud-hang-"));
    pool = new WorkerPool(1, { file: HANGING, every: time.every });
  });
  afterEach(async () => {
    await pool.close();
    rmSync(folder, { recursive: true });
  });

  const PNG = { type: "image", format: "png" };
  const batchWith = (path: string): TestJob =>
    makeJob([...imageItems(3), { ...(imageItems(1)[0] as { bytes: Uint8Array }), path }], PNG);

  /** Begins the job; resolves when its thread hangs. */
  async function hanging(job: TestJob): Promise<{ readonly outcome: Promise<unknown> }> {
    const channel = new BroadcastChannel("hangs");
    const begun = once(channel, "message");
    const outcome = pool.run(job).catch((error: unknown) => error);
    await begun;
    channel.close();
    return { outcome };
  }

  async function expectOthersWork(): Promise<void> {
    const job = makeJob(imageItems(20), PNG);
    expect((await pool.run(job)).every(({ ok }) => ok)).toBe(true);
    expect(dataOf(job).some((byte) => byte !== 0xee)).toBe(true);
    expect(time.timers).toBe(0);
  }

  test("fails with its name, and another thread takes the place", async () => {
    const { outcome } = await hanging(batchWith("folder/loop"));
    time.pass(DECODE_ITEM_MS - QUARTER);
    // The progress up to the item may count as some.
    time.pass(2 * QUARTER);
    expect(await outcome).toMatchObject({
      code: "internal",
      message: `folder/loop: it was not decoded within ${DECODE_ITEM_MS / 1000} seconds. Its thread was ended, and another takes its place.`,
      details: { path: "folder/loop", limit: DECODE_ITEM_MS },
    });
    await expectOthersWork();
  });

  test("fails also where nothing can end the thread, whose memory is never given back (needs mkfifo)", async () => {
    const pipe = join(folder, "pipe");
    execFileSync("mkfifo", [pipe]);
    const reader = openSync(pipe, constants.O_RDWR | constants.O_NONBLOCK);
    const job = batchWith(pipe);
    const file = await createMappedFile(4096, "a ring", folder);
    const output = subReference(file.memory, 0, job.output.byteLength);
    const { outcome } = await hanging({ ...job, ring: file.memory, output } as unknown as TestJob);
    // Its first bytes are here, so the thread is within the call that writes them.
    while (!hasBytes(reader)) await new Promise(setImmediate);
    time.pass(5 * QUARTER);
    time.pass(QUARTER);
    expect(await outcome).toMatchObject({ code: "internal", details: { path: pipe } });
    const exits = process.listenerCount("exit");
    // It would be the end of this process if the memory were gone.
    file.close();
    viewOf(file.memory)[0] = 1;
    await expectOthersWork();
    await pool.close();
    // The thread's call fails at last.
    closeSync(reader);
    while (process.listenerCount("exit") === exits) await new Promise(setImmediate);
  });
});

function hasBytes(pipe: number): boolean {
  try {
    return readSync(pipe, new Uint8Array(1)) > 0;
  } catch (error) {
    expect(error).toMatchObject({ code: "EAGAIN" });
    return false;
  }
}
