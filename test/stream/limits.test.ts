import { randomUUID } from "node:crypto";
import { afterEach, describe, expect, test } from "vitest";
import type { BatchResponse } from "../../proto/index.ts";
import { expectBatches } from "./expected.ts";
import { noiseFiles } from "./fixture.ts";
import { createInProcess, drain, type InProcess } from "./in-process.ts";
import type { StreamInit } from "./wire.ts";

let running: InProcess | undefined;
afterEach(async () => {
  await running?.settled();
  expect(running?.harness.violations ?? []).toEqual([]);
  expect(running?.budget.usedBytes ?? 0).toBe(0);
  await running?.close();
  running = undefined;
});

/** An epoch over as many invocations as it takes. */
async function epoch(
  process: InProcess,
  init: StreamInit,
): Promise<{ batches: BatchResponse[]; perInvocation: number[] }> {
  const batches: BatchResponse[] = [];
  const perInvocation: number[] = [];
  for (let next = 0; ;) {
    const answer = await drain(await process.open({ ...init, resumeBatchIndex: BigInt(next) }));
    batches.push(...answer.batches);
    perInvocation.push(answer.batches.length);
    if (answer.end.kind === "complete") return { batches, perInvocation };
    next += answer.batches.length;
    expect(answer.end.batch).toBe(next);
    expect(answer.batches.length).toBeGreaterThan(0);
    expect(answer.batches.at(-1)?.isLast).toBe(false);
  }
}

describe("with 50 calls for each invocation", () => {
  const calls = { calls: 50 };

  test("a shuffled epoch is continued, batch by batch the same", async () => {
    running = await createInProcess(
      noiseFiles(400, (i) => 300 + 7 * (i % 90)),
      { limits: calls, subrequests: 50 },
    );
    const init = { streamId: randomUUID(), batchSize: 8, shuffle: true };
    const { batches, perInvocation } = await epoch(running, init);
    expectBatches(running.dataset as never, { batchSize: 8, mode: "full" }, batches);
    expect(batches).toHaveLength(50);
    expect(perInvocation.length).toBeGreaterThan(2);
    expect(running.harness.peak.openCalls).toBeLessThanOrEqual(6);
  });

  test("a sequential epoch needs fewer of them", async () => {
    running = await createInProcess(
      noiseFiles(400, () => 700),
      { limits: calls, subrequests: 50 },
    );
    const { batches, perInvocation } = await epoch(running, { streamId: randomUUID(), batchSize: 8 });
    expectBatches(running.dataset as never, { batchSize: 8 }, batches);
    expect(perInvocation.length).toBeLessThanOrEqual(4);
  });

  test("one batch that alone takes more still goes out", async () => {
    running = await createInProcess(
      noiseFiles(150, () => 5_000),
      { subrequests: 50 },
    );
    const { batches, perInvocation } = await epoch(running, {
      streamId: randomUUID(),
      batchSize: 75,
      shuffle: true,
    });
    expectBatches(running.dataset as never, { batchSize: 75, mode: "full" }, batches);
    expect(perInvocation).toEqual([1, 1]);
  });
});

describe("memory", () => {
  /** Several invocations run at once here, and the harness counts them together. */
  const several = { openCalls: 100 };

  test("eight streams that all stall leave room for one more, and give everything back", async () => {
    const process = (running = await createInProcess(
      noiseFiles(24, () => 200_000),
      {
        chunkBytes: 1024 * 1024,
        budgetBytes: 16 * 1024 * 1024,
        limits: several,
      },
    ));
    const init = { batchSize: 4, shuffle: true };
    const stalled = await Promise.all(Array.from({ length: 8 }, () => process.open(init)));
    for (const stream of stalled) expect((await stream.next()).kind).toBe("batch");
    const { batches } = await drain(await process.open(init));
    expectBatches(process.dataset as never, { batchSize: 4, mode: "full" }, batches);
    expect(batches).toHaveLength(6);
    for (const stream of stalled) stream.close();
    expect(process.budget.peakBytes).toBeLessThanOrEqual(process.budget.totalBytes);
  });

  test("a stream that finds no memory in time says so, and goes on elsewhere", async () => {
    const process = (running = await createInProcess(
      noiseFiles(8, () => 300_000),
      {
        chunkBytes: 1024 * 1024,
        budgetBytes: 2 * 1024 * 1024,
      },
    ));
    const hog = process.budget.tryAcquire(1024 * 1024);
    const stream = await process.open({ batchSize: 4 });
    await expect(stream.next()).rejects.toMatchObject({ code: "resource_exhausted" });
    stream.close();
    hog?.release();
    const { batches } = await drain(await process.open({ batchSize: 4 }));
    expect(batches).toHaveLength(2);
  });

  test("closing at any moment gives everything back", async () => {
    const process = (running = await createInProcess(
      noiseFiles(60, () => 50_000),
      {
        chunkBytes: 256 * 1024,
        limits: several,
      },
    ));
    for (let steps = 0; steps < 12; steps++) {
      const stream = await process.open({ batchSize: 5, shuffle: true });
      for (let step = 0; step < steps; step++) await stream.next();
      // The next one is being made; nobody waits for it.
      const unfinished = steps % 2 === 0 ? stream.next() : undefined;
      stream.close();
      if (unfinished !== undefined) await unfinished.catch(() => undefined);
    }
    // Reads that were under way end on their own.
    while (process.budget.usedBytes > 0) await new Promise((resolve) => setImmediate(resolve));
  });
});

describe("time", () => {
  test("a revoked token ends a stream whose window was leased before", async () => {
    const process = (running = await createInProcess(noiseFiles(40, () => 1_000)));
    const stream = await process.open({ batchSize: 10 });
    expect((await stream.next()).kind).toBe("batch");
    await process.revokeToken();
    process.advance(1_000);
    await expect(stream.next()).rejects.toMatchObject({ code: "unauthenticated" });
    stream.close();
  });

  test("an old response hands over between two batches", async () => {
    const process = (running = await createInProcess(noiseFiles(40, () => 1_000)));
    const stream = await process.open({ batchSize: 4 });
    expect((await stream.next()).kind).toBe("batch");
    process.advance(31 * 60_000);
    // One may have been made already.
    const { batches, end } = await drain(stream);
    expect(batches.length).toBeLessThanOrEqual(1);
    expect(end).toEqual({ kind: "continuation", batch: 1 + batches.length });
  });
});
