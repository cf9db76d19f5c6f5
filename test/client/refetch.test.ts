/** Items whose bytes do not fit, and who looks at them. */
import fc from "fast-check";
import { beforeAll, describe, expect, test } from "vitest";
import { DataStreamClient } from "../../client/client.ts";
import type { ItemChecker } from "../../client/stream/checker.ts";
import type { StreamOptions } from "../../client/stream/options.ts";
import { fetchSource, type BatchMessages, type BatchSource } from "../../client/stream/source.ts";
import { VerificationError } from "../../client/verification-error.ts";
import { toHex } from "../../core/bytes.ts";
import { DataStreamError } from "../../core/errors.ts";
import type { Blake3 } from "../../core/ports.ts";
import { loadKernels } from "../../kernels/index.ts";
import type { BatchResponse } from "../../proto/index.ts";
import { GatewayDouble, someFiles } from "./double.ts";

let blake3: Blake3;
beforeAll(async () => {
  ({ blake3 } = await loadKernels({ heapBytes: 1 << 20 }));
});

const RETRY = { attempts: 3, firstDelayMs: 0, maxDelayMs: 0 };

function setUp(files = 40): { double: GatewayDouble; client: DataStreamClient } {
  const double = new GatewayDouble(someFiles(files), blake3);
  const { fetch } = double;
  const client = new DataStreamClient({
    gateway: "http://double.test",
    accessToken: "token",
    fetch,
    retry: RETRY,
  });
  return { double, client };
}

/** Indices of the batches that were delivered, and how the stream ended. */
async function received(
  client: DataStreamClient,
  options: Partial<StreamOptions> = {},
): Promise<{ batches: number[]; heads: string[]; error: unknown }> {
  const batches: number[] = [];
  const heads: string[] = [];
  try {
    const all = { dataset: "letters", batchSize: 4, retry: RETRY, ...options };
    for await (const batch of client.streamBatches(all)) {
      batches.push(batch.index);
      heads.push(toHex(batch.transcriptHead));
    }
    return { batches, heads, error: undefined };
  } catch (error) {
    return { batches, heads, error };
  }
}

const upTo = (count: number): number[] => Array.from({ length: count }, (_, i) => i);

/** Changes one byte of an item that has bytes. */
function corrupt(batch: BatchResponse): void {
  const item = batch.items.find(({ length }) => length > 0) as Uint8Array;
  item[0] = (item[0] as number) ^ 1;
}

describe("an item whose bytes do not fit", () => {
  test("is asked for again at its batch, and the stream is as if nothing had been", async () => {
    const whole = await received(setUp().client);
    const { double, client } = setUp();
    double.lies.batch = (batch, request) => {
      if (request <= 2 && batch.batchIndex === 3n) corrupt(batch);
    };
    expect(await received(client)).toEqual(whole);
    expect(double.requests.map(({ resumeBatchIndex }) => resumeBatchIndex)).toEqual([0n, 3n, 3n]);
  });

  test.each([0, 1, 2, 5])(
    "ends the stream when it never fits, after %i further requests",
    async (refetches) => {
      const { double, client } = setUp();
      double.lies.batch = (batch) => {
        if (batch.batchIndex === 3n) corrupt(batch);
      };
      const { batches, error } = await received(client, { refetches });
      expect(batches).toEqual([0, 1, 2]);
      expect(error).toBeInstanceOf(VerificationError);
      expect((error as VerificationError).mismatch).toMatchObject({ subject: "item", batch: 3 });
      expect(double.requests).toHaveLength(1 + refetches);
    },
  );

  test("is counted for each batch of its own", async () => {
    const { double, client } = setUp();
    const tries = new Map<bigint, number>();
    double.lies.batch = (batch) => {
      const times = (tries.get(batch.batchIndex) ?? 0) + 1;
      tries.set(batch.batchIndex, times);
      if (times <= 2) corrupt(batch);
    };
    expect((await received(client)).batches).toEqual(upTo(10));
    expect(double.requests).toHaveLength(1 + 2 * 10);
  });

  test("does not hide a lie about the transcript in the same batch", async () => {
    const { double, client } = setUp();
    double.lies.batch = (batch) => {
      corrupt(batch);
      batch.transcriptHead[0] = (batch.transcriptHead[0] as number) ^ 1;
    };
    const { error } = await received(client);
    expect((error as VerificationError).mismatch.subject).toBe("transcript");
    expect(double.requests).toHaveLength(1);
  });

  test("is found in the middle of a resumed stream, too", async () => {
    const whole = await received(setUp().client);
    const { double, client } = setUp();
    double.lies.batch = (batch, request) => {
      if (request === 1) corrupt(batch);
    };
    const position = { epoch: 0, start_index: 0, batch_index: 6, world_size: 1, batch_size: 4 };
    const resumed = await received(client, { position });
    expect(resumed.heads).toEqual(whole.heads.slice(6));
  });
});

describe("a checker of the consumer's own", () => {
  test("gets each batch with the manifest's files, and decides", async () => {
    const { double, client } = setUp();
    const seen: string[] = [];
    const checkItems: ItemChecker = async ({ message, index, epoch, indices, files, paddedItems }) => {
      expect({ epoch, paddedItems }).toEqual({ epoch: 0, paddedItems: 0 });
      expect(message.itemIndices.map(Number)).toEqual(indices);
      for (const [i, file] of files.entries()) {
        expect(file.path).toBe(double.version.files[indices[i] as number]?.path);
        expect(toHex(file.contentHash)).toBe(toHex(message.itemHashes[i] as Uint8Array));
      }
      seen.push(`${index}`);
      if (index === 2 && seen.filter((each) => each === "2").length === 1)
        throw new VerificationError({ subject: "item", batch: index, expected: "one", actual: "another" });
    };
    expect((await received(client, { checkItems })).batches).toEqual(upTo(10));
    expect(seen.slice(0, 5)).toEqual(["0", "1", "2", "2", "3"]);
    expect(double.requests).toHaveLength(2);
  });

  test("may end the stream with an error of any other kind", async () => {
    const { double, client } = setUp();
    const failure = new RangeError("no room");
    const { batches, error } = await received(client, {
      checkItems: ({ index }) => (index === 1 ? Promise.reject(failure) : Promise.resolve()),
    });
    expect(batches).toEqual([0]);
    expect(error).toMatchObject({ code: "internal", cause: failure });
    expect(double.requests).toHaveLength(1);
  });

  test("is not asked again for a failure of its own that would pass", async () => {
    const { double, client } = setUp();
    const failure = new DataStreamError("unavailable", "The worker is gone.");
    const { batches, error } = await received(client, {
      checkItems: ({ index }) => (index === 1 ? Promise.reject(failure) : Promise.resolve()),
      concurrentChecks: 2,
    });
    expect(batches).toEqual([0]);
    expect(error).toBe(failure);
    expect(double.requests).toHaveLength(1);
  });

  test("needs a batch hash that is not over the items' bytes", async () => {
    const { double, client } = setUp();
    const { error } = await received(client, {
      batchHash: "concatenated",
      checkItems: () => Promise.resolve(),
    });
    expect(error).toMatchObject({ code: "invalid_argument", details: { field: "batchHash" } });
    expect(double.requests).toEqual([]);
  });

  test.each([
    ["refetches", { refetches: -1 }],
    ["concurrentChecks", { concurrentChecks: 0 }],
  ])("%s is checked", async (field, options) => {
    expect((await received(setUp().client, options)).error).toMatchObject({
      code: "invalid_argument",
      details: { field },
    });
  });

  test("has several batches in hand at once where it may, and never more", async () => {
    const { client } = setUp();
    const { promise: full, resolve: isFull } = Promise.withResolvers<void>();
    let inHand = 0;
    let most = 0;
    const checkItems: ItemChecker = async () => {
      most = Math.max(most, ++inHand);
      if (inHand === 3) isFull();
      // Without the others in hand this would never be over.
      await full;
      inHand -= 1;
    };
    expect((await received(client, { checkItems, concurrentChecks: 3 })).batches).toEqual(upTo(10));
    expect(most).toBe(3);
  });
});

/** Follows every message from the source to the consumer, or back. */
class CountingSource implements BatchSource {
  readonly open: BatchSource["open"];
  readonly held = new Set<BatchResponse>();
  readonly beingChecked = new Set<BatchResponse>();

  constructor() {
    this.open = async (request, context) => this.#counted(await fetchSource.open(request, context));
  }

  async *#counted(messages: BatchMessages): BatchMessages {
    try {
      for (;;) {
        const next = await messages.next();
        if (next.done === true) return next.value;
        this.held.add(next.value);
        yield next.value;
      }
    } finally {
      await messages.return({ continuation: undefined });
    }
  }

  discard(message: BatchResponse): void {
    expect(this.beingChecked.has(message)).toBe(false);
    expect(this.held.delete(message)).toBe(true);
  }
}

test("every message is delivered or given back once, whatever happens to the stream", async () => {
  const trouble = fc.record({
    concurrentChecks: fc.integer({ min: 1, max: 4 }),
    prefetchBatches: fc.integer({ min: 1, max: 4 }),
    epochs: fc.integer({ min: 1, max: 3 }),
    leaveAfter: fc.integer({ min: 1, max: 40 }),
    abort: fc.boolean(),
    corrupted: fc.uniqueArray(fc.nat(9), { maxLength: 3 }),
    breaks: fc.uniqueArray(fc.nat(9), { maxLength: 2 }),
    lieAt: fc.option(fc.nat(12)),
    slowness: fc.array(fc.nat(4), { minLength: 1, maxLength: 7 }),
  });
  await fc.assert(
    fc.asyncProperty(trouble, async (plan) => {
      const { double, client } = setUp();
      const source = new CountingSource();
      double.lies.batch = (batch, request) => {
        if (request <= 3 && plan.corrupted.includes(Number(batch.batchIndex))) corrupt(batch);
        if (plan.lieAt === Number(batch.batchIndex)) batch.paddedItems += 1;
      };
      double.lies.endBefore = (batch, request) =>
        request <= 4 && plan.breaks.includes(batch) ? "break" : undefined;
      let checks = 0;
      const checkItems: ItemChecker = async ({ message, files }) => {
        source.beingChecked.add(message);
        const turns = plan.slowness[checks++ % plan.slowness.length] as number;
        for (let turn = 0; turn < turns; turn++) await new Promise((resolve) => setImmediate(resolve));
        source.beingChecked.delete(message);
        const isRight = files.every(
          ({ contentHash }, i) => toHex(contentHash) === toHex(blake3.hash(message.items[i] as Uint8Array)),
        );
        if (!isRight) throw new VerificationError({ subject: "item", expected: "right", actual: "wrong" });
      };
      const aborter = new AbortController();
      const { concurrentChecks, prefetchBatches, epochs } = plan;
      const delivered: string[] = [];
      try {
        for await (const batch of client.streamBatches({
          dataset: "letters",
          batchSize: 4,
          retry: RETRY,
          source,
          checkItems,
          refetches: 5,
          concurrentChecks,
          prefetchBatches,
          epochs,
          signal: aborter.signal,
        })) {
          delivered.push(`${batch.epoch}/${batch.index}`);
          expect(source.held.delete(batch.message)).toBe(true);
          if (delivered.length === plan.leaveAfter) {
            if (!plan.abort) break;
            aborter.abort();
          }
        }
      } catch (error) {
        expect(error).toHaveProperty("code");
      }
      expect(delivered).toEqual(upTo(delivered.length).map((n) => `${Math.floor(n / 10)}/${n % 10}`));
      expect(source.held.size).toBe(0);
      expect(source.beingChecked.size).toBe(0);
    }),
    { numRuns: 150 },
  );
});
