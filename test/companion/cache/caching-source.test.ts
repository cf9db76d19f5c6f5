import fc from "fast-check";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { DataStreamClient } from "../../../client/client.ts";
import type { Batch } from "../../../client/stream/batch.ts";
import type { StreamOptions } from "../../../client/stream/options.ts";
import { cachingSource, type CachingSource } from "../../../companion/cache/caching-source.ts";
import { ItemCache } from "../../../companion/cache/item-cache.ts";
import { MessagePool } from "../../../companion/receive/message-pool.ts";
import { messageBuffer, releaseMessage } from "../../../companion/receive/messages.ts";
import { socketSource } from "../../../companion/receive/socket-source.ts";
import { toHex } from "../../../core/bytes.ts";
import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { BatchResponseSchema } from "../../../proto/index.ts";
import { GatewayDouble, someFiles, type DoubleFile } from "../../client/double.ts";
import { serveDouble, type DoubleServer } from "../double-server.ts";
import { kernels, noise } from "../../stream/fixture.ts";
import { scratchDirectory } from "./store.ts";

const { blake3 } = kernels;
const MIB = 1024 * 1024;
let scratch: ReturnType<typeof scratchDirectory>;
const servers: DoubleServer[] = [];
const caches: ItemCache[] = [];
beforeEach(() => {
  scratch = scratchDirectory();
});
afterEach(async () => {
  await Promise.all([
    ...servers.splice(0).map((server) => server.stop()),
    ...caches.splice(0).map((c) => c.close()),
  ]);
  scratch.remove();
});

interface SetUp {
  readonly double: GatewayDouble;
  readonly client: DataStreamClient;
  readonly cache: ItemCache;
  readonly pool: MessagePool;
  /** A source of a new stream. */
  source(): CachingSource;
}

async function setUp(files: readonly DoubleFile[], limitBytes = 64 * MIB): Promise<SetUp> {
  const double = new GatewayDouble(files, blake3);
  const server = await serveDouble(double);
  servers.push(server);
  const cache = await ItemCache.open({
    directory: scratch.path,
    limitBytes,
    segmentBytes: 256 * 1024,
  });
  caches.push(cache);
  const pool = new MessagePool();
  const client = new DataStreamClient({
    gateway: server.url,
    accessToken: "token",
    retry: { attempts: 5, firstDelayMs: 0, maxDelayMs: 0 },
  });
  return {
    double,
    client,
    cache,
    pool,
    source: () => cachingSource(socketSource({ pool }), { cache, pool, blake3 }),
  };
}

interface Seen {
  readonly index: number;
  readonly epoch: number;
  readonly head: string;
  readonly items: readonly string[];
}

/** A run of a known name that begins at the front, whatever the gateway remembers. */
function run(streamId: string): Partial<StreamOptions> {
  const position = { epoch: 0, start_index: 0, batch_index: 0, world_size: 1, batch_size: 4 };
  return { streamId, position };
}

/** Streams to the end, releasing each batch when the next was asked for; what each was. */
async function stream(
  own: SetUp,
  source: CachingSource,
  options: Partial<StreamOptions> = {},
): Promise<Seen[]> {
  const { client, double } = own;
  const seen: Seen[] = [];
  for await (const batch of client.streamBatches({ dataset: "letters", batchSize: 4, source, ...options })) {
    for (const [i, index] of batch.indices.entries())
      expect(
        Buffer.compare(batch.items[i] as Uint8Array, double.version.files[index]?.bytes as Uint8Array),
      ).toBe(0);
    seen.push(seenOf(batch));
    releaseMessage(batch.message);
  }
  // What was released last is being stored.
  await own.cache.refresh();
  return seen;
}

function seenOf({ index, epoch, transcriptHead, itemHashes }: Batch): Seen {
  return { index, epoch, head: toHex(transcriptHead), items: itemHashes.map(toHex) };
}

/** The batches that the gateway was asked to begin with. */
const asked = ({ double }: SetUp): number[] =>
  double.requests.map((request) => Number(request.resumeBatchIndex));

test("the second epoch is served from the cache wholly, with the transcript of a stream without one", async () => {
  const own = await setUp(someFiles(120));
  const source = own.source();
  const cached = await stream(own, source, { epochs: 3, shuffle: true, seed: 5, ...run("run") });
  expect(own.double.requests).toHaveLength(1);
  expect(source.counts).toEqual({ localBatches: 60, fetchedBatches: 30 });
  expect(own.pool.heldBytes).toBe(0);

  const plain: Seen[] = [];
  for await (const batch of own.client.streamBatches({
    dataset: "letters",
    batchSize: 4,
    epochs: 3,
    shuffle: true,
    seed: 5,
    ...run("run"),
  }))
    plain.push(seenOf(batch));
  expect(cached).toEqual(plain);
});

test("another process and another order find the same items", async () => {
  const own = await setUp(someFiles(90));
  await stream(own, own.source());
  const other = await ItemCache.open({ directory: scratch.path, limitBytes: 64 * MIB, segmentBytes: MIB });
  caches.push(other);
  const { pool } = own;
  const source = cachingSource(socketSource({ pool }), { cache: other, pool, blake3 });
  await stream(own, source, { shuffle: true, batchSize: 7, tail: "pad" });
  expect(own.double.requests).toHaveLength(1);
  expect(source.counts.fetchedBatches).toBe(0);
});

test("messages made of cached items lie in shared memory, serialised as the gateway would", async () => {
  const own = await setUp(someFiles(40));
  await stream(own, own.source());
  const source = own.source();
  for await (const { message } of own.client.streamBatches({ dataset: "letters", batchSize: 4, source })) {
    expect(source.isLocal?.(message)).toBe(true);
    const { bytes, buffer, offsets } = messageBuffer(message);
    const parsed = fromBinary(BatchResponseSchema, Uint8Array.from(bytes));
    expect(toBinary(BatchResponseSchema, parsed)).toEqual(toBinary(BatchResponseSchema, message));
    expect([parsed.lease, parsed.transcriptHead.length]).toEqual([0n, 0]);
    for (const [i, item] of message.items.entries()) {
      expect(item.buffer).toBe(buffer);
      expect(item.byteOffset).toBe(offsets[i]);
    }
    releaseMessage(message);
  }
});

test("batches from the cache are not acknowledged; the next from the gateway covers them", async () => {
  const own = await setUp(someFiles(80));
  await stream(own, own.source(), { ...run("first") });
  expect(own.double.acknowledgements.length).toBeGreaterThan(0);
  own.double.acknowledgements.length = 0;
  const last = blake3.hash(own.double.version.files[79]?.bytes as Uint8Array);
  await own.cache.drop(last);
  await stream(own, own.source(), { ...run("second") });
  expect(own.double.acknowledgements.map(({ batchIndex }) => batchIndex)).toEqual([19n]);
});

test("what is cached and what is not take turns, by whole requests", async () => {
  const own = await setUp(someFiles(400));
  await stream(own, own.source());
  // Batches 30 and 31 lack an item; so does 33, too near to give the response up in between.
  for (const index of [4 * 30, 4 * 31 + 2, 4 * 33 + 3])
    await own.cache.drop(blake3.hash(own.double.version.files[index]?.bytes as Uint8Array));
  const source = own.source();
  const seen = await stream(own, source, { ...run("again") });
  expect(seen.map(({ index }) => index)).toEqual(Array.from({ length: 100 }, (_, index) => index));
  expect(asked(own)).toEqual([0, 30]);
  expect(source.counts).toEqual({ localBatches: 96, fetchedBatches: 4 });
  await stream(own, own.source(), { ...run("once more") });
  expect(asked(own)).toEqual([0, 30]);
});

test("any part of the items may be cached: the stream is the same", async () => {
  const own = await setUp(someFiles(200));
  const expected = await stream(own, own.source(), { shuffle: true, ...run("run") });
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.record({ from: fc.nat({ max: 199 }), count: fc.integer({ min: 1, max: 30 }) }), {
        maxLength: 4,
      }),
      async (gaps) => {
        for (const { from, count } of gaps)
          for (const { bytes } of own.double.version.files.slice(from, from + count))
            await own.cache.drop(blake3.hash(bytes));
        expect(await stream(own, own.source(), { shuffle: true, ...run("run") })).toEqual(expected);
        expect(own.pool.heldBytes).toBe(0);
      },
    ),
    { numRuns: 15 },
  );
});

describe("a damaged cache costs requests, never a run", () => {
  /** Changes bytes of the items in all files of the cache. */
  function damage(): void {
    for (const name of readdirSync(scratch.path)) {
      const path = join(scratch.path, name);
      const bytes = readFileSync(path);
      // Behind the header; records are at the other end.
      for (let at = 64; at < 64 + 700; at += 90) bytes[at] = (bytes[at] as number) ^ 0xff;
      writeFileSync(path, bytes);
    }
  }

  test.each([0, 2])(
    "items that changed on disk are fetched and stored again, with %s refetches",
    async (refetches) => {
      const own = await setUp(someFiles(60));
      const expected = await stream(own, own.source(), { ...run("run") });
      damage();
      const source = own.source();
      expect(await stream(own, source, { ...run("run"), refetches })).toEqual(expected);
      expect(source.counts.fetchedBatches).toBeGreaterThan(2);
      // What the damaged batch left unseen is found by the next runs; the file goes when it has two such items.
      for (let again = 0; again < 2; again++)
        expect(await stream(own, own.source(), { ...run("run"), refetches })).toEqual(expected);
      const last = own.source();
      expect(await stream(own, last, { ...run("run"), refetches })).toEqual(expected);
      expect(last.counts.fetchedBatches).toBe(0);
      expect(own.pool.heldBytes).toBe(0);
    },
  );

  test("with several checks at once, too", async () => {
    const own = await setUp(someFiles(60));
    const expected = await stream(own, own.source(), { ...run("run") });
    damage();
    const check = { concurrentChecks: 3, refetches: 1 };
    expect(await stream(own, own.source(), { ...run("run"), ...check })).toEqual(expected);
    expect(own.pool.heldBytes).toBe(0);
  });

  test("a file that is gone is fetched again", async () => {
    const own = await setUp(someFiles(60));
    const expected = await stream(own, own.source(), { ...run("run") });
    for (const name of readdirSync(scratch.path)) writeFileSync(join(scratch.path, name), "");
    expect(await stream(own, own.source(), { ...run("run") })).toEqual(expected);
  });
});

test("what the gateway sends and does not fit is not stored", async () => {
  const own = await setUp(someFiles(20));
  own.double.lies.batch = (batch, request) => {
    if (request === 1 && batch.batchIndex === 2n) batch.items[0] = Uint8Array.of(1, 2, 3);
  };
  await stream(own, own.source());
  expect(asked(own)).toEqual([0, 2]);
  const again = own.source();
  await stream(own, again);
  expect(again.counts).toEqual({ localBatches: 5, fetchedBatches: 0 });
});

test("a run through more than the cache holds keeps what fits, and finds it again", async () => {
  const files = Array.from({ length: 64 }, (_, i) => ({
    path: `a/${String(i).padStart(3, "0")}.bin`,
    bytes: noise(100_000, i),
  }));
  // Half of the bytes.
  const own = await setUp(files, 3.2 * MIB);
  const source = own.source();
  await stream(own, source, { epochs: 4 });
  const { localBatches, fetchedBatches } = source.counts;
  expect(localBatches + fetchedBatches).toBe(64);
  expect(localBatches).toBeGreaterThan(3 * 5);
});

test("a consumer that leaves gives everything back", async () => {
  const own = await setUp(someFiles(100));
  await stream(own, own.source());
  for await (const batch of own.client.streamBatches({
    dataset: "letters",
    batchSize: 4,
    source: own.source(),
  })) {
    releaseMessage(batch.message);
    if (batch.index === 3) break;
  }
  expect(own.pool.heldBytes).toBe(0);
  expect(own.double.requests).toHaveLength(1);
});

test("a stream that hashes all bytes of a batch at once is only stored", async () => {
  const own = await setUp(someFiles(40));
  await stream(own, own.source(), { batchHash: "concatenated" });
  expect(own.cache.count).toBe(40);
  await stream(own, own.source(), { batchHash: "concatenated" });
  expect(own.double.requests).toHaveLength(2);
});

test("where a stream goes on after its last acknowledgement, one batch of each epoch tells where that is", async () => {
  const own = await setUp(someFiles(120));
  const expected = await stream(own, own.source(), { epochs: 2, ...run("run") });
  // The gateway remembers that another world stopped behind 40 items.
  own.double.goesOnAt = 40;
  const source = own.source();
  const seen = await stream(own, source, { streamId: "run" });
  expect(seen.map(({ items }) => items)).toEqual(expected.slice(10, 30).map(({ items }) => items));
  expect(source.counts).toEqual({ localBatches: 19, fetchedBatches: 1 });
  expect(own.double.requests).toHaveLength(2);
});
