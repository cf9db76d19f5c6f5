/** A gateway that goes away: the stream waits for it, and goes on where it stood; or says so when patience ends. */
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Clock } from "../../../client/backoff.ts";
import type { BatchSource } from "../../../client/stream/source.ts";
import { streamTensors } from "../../../companion/tensor-stream.ts";
import { WorkerPool } from "../../../companion/workers/pool.ts";
import { DataStreamError } from "../../../core/errors.ts";
import { loadKernels } from "../../../kernels/index.ts";
import { images, setUp } from "../doubles.ts";
import { startDoubleCompanion } from "./double-companion.ts";

const { blake3 } = await loadKernels({ heapBytes: 1 << 20 });
let workers: WorkerPool;
beforeAll(() => {
  workers = new WorkerPool(1);
});
afterAll(() => workers.close());

/** Time that passes only while somebody waits. */
class FakeClock implements Clock {
  time = 0;
  now(): number {
    return this.time;
  }
  sleep(ms: number): Promise<void> {
    this.time += ms;
    return Promise.resolve();
  }
}

/** Breaks off behind a batch, and cannot be reached for so long after. */
function outage(
  inner: BatchSource,
  clock: FakeClock,
  behind: bigint,
  forMs: number,
): BatchSource & { tried: number } {
  let until = 0;
  const gone = (): DataStreamError => new DataStreamError("unavailable", "The gateway cannot be reached.");
  const source = {
    tried: 0,
    discard: (message: Parameters<NonNullable<BatchSource["discard"]>>[0]) => inner.discard?.(message),
    async open(...call: Parameters<BatchSource["open"]>) {
      source.tried += 1;
      if (clock.time < until) throw gone();
      const messages = await inner.open(...call);
      const next = messages.next.bind(messages);
      messages.next = async () => {
        const result = await next();
        if (result.done !== true && result.value.batchIndex > behind && until === 0) {
          inner.discard?.(result.value);
          until = clock.time + forMs;
          throw gone();
        }
        return result;
      };
      return messages;
    },
  };
  return source;
}

const retry = { attempts: 10, firstDelayMs: 200, maxDelayMs: 5_000 };

test("gone for 30 seconds: every batch comes, once and in order", async () => {
  const setup = setUp(images(40), blake3);
  const clock = new FakeClock();
  const source = outage(setup.source, clock, 3n, 30_000);
  const seen: number[] = [];
  const options = {
    dataset: "letters",
    batchSize: 4,
    source,
    workers,
    retry: { ...retry, patienceMs: 600_000, clock },
  };
  for await (const batch of streamTensors(setup.client, options)) seen.push(...batch.source.indices);
  expect(seen).toEqual(Array.from({ length: 40 }, (_, i) => i));
  expect(clock.time).toBeGreaterThanOrEqual(30_000);
  expect(source.tried).toBeGreaterThan(5);
  expect(setup.source.held).toBe(0);
});

test("gone for longer than patience: what had come is handed over, then the error", async () => {
  const setup = setUp(images(40), blake3);
  const clock = new FakeClock();
  const source = outage(setup.source, clock, 3n, 3_600_000);
  const seen: number[] = [];
  const options = {
    dataset: "letters",
    batchSize: 4,
    source,
    workers,
    retry: { ...retry, patienceMs: 60_000, clock },
  };
  const run = async (): Promise<void> => {
    for await (const batch of streamTensors(setup.client, options)) seen.push(batch.source.index);
  };
  await expect(run()).rejects.toMatchObject({ code: "unavailable" });
  expect(seen).toEqual([0, 1, 2, 3]);
  expect(clock.time).toBeGreaterThanOrEqual(60_000);
  expect(clock.time).toBeLessThan(70_000);
  expect(setup.source.held).toBe(0);
});

test("connections that break are made again, unseen by the trainer but for a counter", async () => {
  const companion = await startDoubleCompanion();
  companion.double.lies.endBefore = (batch, request) =>
    request < 4 && batch === 2 * request ? "break" : undefined;
  const client = await companion.connect();
  await client.open(companion.request({ stream_id: "broken" }));
  const seen: number[] = [];
  for await (const batch of client.batches()) seen.push(batch.index);
  expect(seen).toEqual(Array.from({ length: 10 }, (_, i) => i));
  expect(await companion.metric("gateway_reconnects_total")).toBe(3);
  client.kill();
  await companion.close();
});
