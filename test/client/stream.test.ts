import fc from "fast-check";
import { beforeAll, describe, expect, test } from "vitest";
import { DataStreamClient } from "../../client/client.ts";
import type { Batch, StreamPosition } from "../../client/stream/batch.ts";
import type { StreamOptions } from "../../client/stream/options.ts";
import { toHex } from "../../core/bytes.ts";
import type { Blake3 } from "../../core/ports.ts";
import { loadKernels } from "../../kernels/index.ts";
import { GatewayDouble, someFiles } from "./double.ts";

let blake3: Blake3;
beforeAll(async () => {
  ({ blake3 } = await loadKernels({ heapBytes: 1 << 20 }));
});

const NO_WAIT = { attempts: 5, firstDelayMs: 0, maxDelayMs: 0 };

function setUp(files: number): { double: GatewayDouble; client: DataStreamClient } {
  const double = new GatewayDouble(someFiles(files), blake3);
  const client = new DataStreamClient({
    gateway: "http://double.test",
    accessToken: "token",
    fetch: double.fetch,
    retry: NO_WAIT,
  });
  return { double, client };
}

async function collect(client: DataStreamClient, options: Omit<StreamOptions, "dataset">): Promise<Batch[]> {
  const batches: Batch[] = [];
  for await (const batch of client.streamBatches({ dataset: "letters", retry: NO_WAIT, ...options }))
    batches.push(batch);
  return batches;
}

const headOf = (batches: readonly Batch[]): string => toHex((batches.at(-1) as Batch).transcriptHead);

test("every item comes once, in the client's own order, with path and label", async () => {
  const { double, client } = setUp(50);
  const batches = await collect(client, { batchSize: 8, shuffle: true, seed: 3 });
  const indices = batches.flatMap((batch) => batch.indices);
  expect(indices.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 50 }, (_, i) => i));
  expect(indices).not.toEqual(indices.toSorted((a, b) => a - b));
  for (const batch of batches) {
    for (const [i, index] of batch.indices.entries()) {
      const file = double.version.files[index];
      expect(batch.paths[i]).toBe(file?.path);
      expect(batch.items[i]).toEqual(file?.bytes);
      expect(batch.labels?.[i]).toBe(index < 25 ? 0 : 1);
    }
  }
  expect(batches.at(-1)?.isLast).toBe(true);
});

test("broken and continued responses are joined unseen, with the transcript of an unbroken stream", async () => {
  const unbroken = await collect(setUp(60).client, { batchSize: 4, streamId: "run", position: at(0) });
  await fc.assert(
    fc.asyncProperty(
      fc.array(
        fc.record({
          after: fc.integer({ min: 0, max: 15 }),
          how: fc.constantFrom("break" as const, "continue" as const),
        }),
        {
          maxLength: 4,
        },
      ),
      async (cuts) => {
        const { double, client } = setUp(60);
        double.lies.endBefore = (batchIndex, request) => {
          const cut = cuts[request - 1];
          return cut !== undefined && batchIndex >= Math.max(cut.after, request) ? cut.how : undefined;
        };
        const batches = await collect(client, { batchSize: 4, streamId: "run", position: at(0) });
        expect(batches.map((batch) => batch.index)).toEqual(unbroken.map((batch) => batch.index));
        expect(headOf(batches)).toBe(headOf(unbroken));
      },
    ),
    { numRuns: 40 },
  );
});

function at(batch: number): StreamPosition {
  return { epoch: 0, start_index: 0, batch_index: batch, world_size: 1, batch_size: 4 };
}

describe("a rank that another request took over", () => {
  test("goes on when that may have been a request of its own that broke off", async () => {
    const { double, client } = setUp(40);
    double.lies.endBefore = (batchIndex, request) => {
      if (request === 1 && batchIndex === 2) return "break";
      return request === 2 && batchIndex === 4 ? "overtaken" : undefined;
    };
    const batches = await collect(client, { batchSize: 4 });
    expect(batches.map((batch) => batch.index)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect(double.requests).toHaveLength(3);
  });

  test("is given up otherwise: two processes must not take it from each other for ever", async () => {
    const { double, client } = setUp(40);
    double.lies.endBefore = (batchIndex, request) => {
      if (request === 1 && batchIndex === 2) return "break";
      return request > 1 && batchIndex === 2 + request ? "overtaken" : undefined;
    };
    await expect(collect(client, { batchSize: 4 })).rejects.toMatchObject({ code: "aborted" });
    expect(double.requests).toHaveLength(3);
  });
});

test("a gateway that never makes progress ends in its own error", async () => {
  const { double, client } = setUp(10);
  double.lies.endBefore = () => "break";
  await expect(collect(client, { batchSize: 4 })).rejects.toMatchObject({ code: "unavailable" });
  expect(double.requests.length).toBe(NO_WAIT.attempts);
});

test("breaking out of the loop cancels the request", async () => {
  const { double, client } = setUp(200);
  for await (const batch of client.streamBatches({ dataset: "letters", batchSize: 2 }))
    if (batch.index === 3) break;
  expect(double.cancelled).toBe(1);
});

test("an aborted signal ends the stream with canceled", async () => {
  const { client } = setUp(200);
  const aborter = new AbortController();
  const streaming = (async () => {
    for await (const batch of client.streamBatches({
      dataset: "letters",
      batchSize: 2,
      signal: aborter.signal,
    })) {
      if (batch.index === 2) aborter.abort();
    }
  })();
  await expect(streaming).rejects.toMatchObject({ code: "canceled" });
});

describe("acknowledging", () => {
  test("follows the consumer: the batch in hand is not acknowledged", async () => {
    const { double, client } = setUp(40);
    for await (const batch of client.streamBatches({ dataset: "letters", batchSize: 4 }))
      if (batch.index === 5) break;
    const acknowledged = double.acknowledgements.map((each) => Number(each.batchIndex));
    expect(Math.max(-1, ...acknowledged)).toBeLessThan(5);
  });

  test("covers everything when the epoch ends, with the client's own heads", async () => {
    const { double, client } = setUp(40);
    const batches = await collect(client, { batchSize: 4 });
    const last = double.acknowledgements.at(-1);
    expect(Number(last?.batchIndex)).toBe(9);
    expect(toHex(last?.transcriptHead as Uint8Array)).toBe(headOf(batches));
  });

  test("keeps checkpoints and the ends of epochs when the gateway is slow to answer", async () => {
    const { double } = setUp(12);
    const { promise: answered, resolve: answer } = Promise.withResolvers<void>();
    const slow = new DataStreamClient({
      gateway: "http://double.test",
      accessToken: "token",
      retry: NO_WAIT,
      fetch: async (input, init) => {
        if (new Request(input).url.endsWith("/AckBatches")) await answered;
        return double.fetch(input, init);
      },
    });
    const options = { dataset: "letters", batchSize: 4, epochs: 2, acknowledge: "manual" } as const;
    const sent: Promise<void>[] = [];
    for await (const batch of slow.streamBatches(options)) {
      sent.push(batch.acknowledge({ checkpoint: batch.epoch === 0 && batch.index === 1 }));
      if (batch.epoch === 1 && batch.isLast) answer();
    }
    await Promise.all(sent);
    expect(
      double.acknowledgements.map((each) => [each.epoch, Number(each.batchIndex), each.checkpoint]),
    ).toEqual([
      [0, 0, false],
      [0, 1, true],
      [0, 2, false],
      [1, 2, false],
    ]);
  });

  test("is left to the consumer when manual", async () => {
    const { double, client } = setUp(40);
    for await (const batch of client.streamBatches({
      dataset: "letters",
      batchSize: 4,
      acknowledge: "manual",
    })) {
      if (batch.index === 4) await batch.acknowledge({ checkpoint: true });
    }
    expect(double.acknowledgements.map((each) => [Number(each.batchIndex), each.checkpoint])).toEqual([
      [4, true],
    ]);
  });
});

test("a position goes on at the next batch, at any world size, each item once", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 5 }),
      fc.integer({ min: 1, max: 5 }),
      fc.integer({ min: 0, max: 4 }),
      async (before, after, checkpointAt) => {
        const { client } = setUp(90);
        const seen: number[] = [];
        let position: StreamPosition | undefined;
        for (let rank = 0; rank < before; rank++) {
          for await (const batch of client.streamBatches({
            dataset: "letters",
            batchSize: 3,
            shuffle: true,
            rank,
            worldSize: before,
          })) {
            seen.push(...batch.indices);
            position = batch.position;
            if (batch.index === checkpointAt) break;
          }
        }
        for (let rank = 0; rank < after; rank++) {
          const batches = await collect(client, {
            batchSize: 3,
            shuffle: true,
            rank,
            worldSize: after,
            ...(position === undefined ? {} : { position: { ...position, batch_index: checkpointAt + 1 } }),
          }).catch((error: unknown) => {
            // Nothing was left: the first run had reached the end of the epoch.
            if ((error as Error).message.includes("start_index")) return [];
            throw error;
          });
          for (const batch of batches) seen.push(...batch.indices);
        }
        expect(seen.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 90 }, (_, i) => i));
      },
    ),
    { numRuns: 30 },
  );
});

test("a position at the end has nothing left, and one past it is refused", async () => {
  const { client } = setUp(10);
  const position = { epoch: 0, start_index: 0, batch_index: 3, world_size: 1, batch_size: 4 };
  expect(await collect(client, { batchSize: 4, position })).toEqual([]);
  expect(await collect(client, { batchSize: 4, position, worldSize: 2, rank: 1 })).toEqual([]);
  for (const wrong of [{ batch_index: 4 }, { start_index: 11 }, { batch_index: -1 }, { world_size: 0 }])
    await expect(
      collect(client, { batchSize: 4, position: { ...position, ...wrong } }),
    ).rejects.toMatchObject({ code: "invalid_argument", details: { field: "position" } });
});

test("epochs follow each other with orders of their own", async () => {
  const { client } = setUp(20);
  const batches = await collect(client, { batchSize: 20, shuffle: true, epochs: 3 });
  expect(batches.map((batch) => batch.epoch)).toEqual([0, 1, 2]);
  expect(new Set(batches.map((batch) => batch.indices.join())).size).toBe(3);
});

test.each([
  ["batchSize", { batchSize: 0 }, /batch_size/],
  ["rank", { batchSize: 4, rank: 2, worldSize: 2 }, /rank/],
  ["startIndex", { batchSize: 4, startIndex: 1000 }, /start_index/],
  ["filter", { batchSize: 4, filter: { prefix: "none/" } }, /filter/],
  ["position", { batchSize: 5, position: at(1) }, /position/],
])("a bad %s is refused before anything is asked of the gateway", async (_name, options, message) => {
  const { double, client } = setUp(20);
  await expect(collect(client, options)).rejects.toThrow(message);
  expect(double.requests).toEqual([]);
});
