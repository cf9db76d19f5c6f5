/** The cache against the real gateway: its session meets requests that skip batches it never sent. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { DataStreamClient } from "../../../client/client.ts";
import { cachingSource, type CachingSource } from "../../../companion/cache/caching-source.ts";
import { ItemCache } from "../../../companion/cache/item-cache.ts";
import { MessagePool } from "../../../companion/receive/message-pool.ts";
import { releaseMessage } from "../../../companion/receive/messages.ts";
import { socketSource } from "../../../companion/receive/socket-source.ts";
import { toHex } from "../../../core/bytes.ts";
import {
  addDataset,
  kernels,
  noiseFiles,
  startStreamGateway,
  type StreamGateway,
  type TestDataset,
} from "../../stream/fixture.ts";
import { scratchDirectory } from "./store.ts";

const FILES = 240;
const BATCHES = FILES / 4;
const { blake3 } = kernels;
const scratch = scratchDirectory();
let gateway: StreamGateway;
let dataset: TestDataset;
let client: DataStreamClient;
let cache: ItemCache;
beforeAll(async () => {
  gateway = await startStreamGateway();
  dataset = await addDataset(
    gateway,
    noiseFiles(FILES, (i) => 100 + 13 * i),
  );
  const { token } = await dataset.token();
  client = new DataStreamClient({ gateway: gateway.url, accessToken: token });
  cache = await ItemCache.open({ directory: scratch.path, limitBytes: 1 << 26, segmentBytes: 1 << 20 });
});
afterAll(async () => {
  await cache.close();
  await gateway.stop();
  scratch.remove();
});

function newSource(): CachingSource {
  const pool = new MessagePool();
  return cachingSource(socketSource({ pool }), { cache, pool, blake3 });
}

/** Heads of the epochs' ends. */
async function stream(source: CachingSource, streamId: string, epochs: number): Promise<string[]> {
  const heads: string[] = [];
  const position = { epoch: 0, start_index: 0, batch_index: 0, world_size: 1, batch_size: 4 };
  for await (const batch of client.streamBatches({
    dataset: dataset.name,
    batchSize: 4,
    shuffle: true,
    epochs,
    streamId,
    position,
    source,
  })) {
    for (const [i, index] of batch.indices.entries())
      expect(Buffer.compare(batch.items[i] as Uint8Array, dataset.files[index]?.bytes as Uint8Array)).toBe(0);
    if (batch.isLast) heads.push(toHex(batch.transcriptHead));
    releaseMessage(batch.message);
  }
  await cache.refresh();
  return heads;
}

test("a second epoch needs no gateway, and a gap is filled by one request whose transcript fits", async () => {
  const first = newSource();
  const heads = await stream(first, "run", 2);
  expect(first.counts).toEqual({ localBatches: BATCHES, fetchedBatches: BATCHES });

  const order = await firstBatches();
  await cache.drop(dataset.files[order[4 * 40] as number]?.hash as Uint8Array);
  const second = newSource();
  expect(await stream(second, "run", 1)).toEqual(heads.slice(0, 1));
  expect(second.counts.fetchedBatches).toBeGreaterThan(0);
  expect(second.counts.localBatches).toBeGreaterThanOrEqual(40);

  // What was missing is there again.
  const third = newSource();
  expect(await stream(third, "run", 1)).toEqual(heads.slice(0, 1));
  expect(third.counts.fetchedBatches).toBe(0);
});

describe("a stream that needs nothing of the gateway but its leave", () => {
  let isGone = false;

  async function epochsSeen(
    whenCached: (token: { readonly id: string }) => Promise<unknown>,
  ): Promise<{ readonly epochs: number[]; readonly error: unknown }> {
    const token = await dataset.token();
    const own = new DataStreamClient({
      gateway: gateway.url,
      accessToken: token.token,
      fetch: (...call) => (isGone ? Promise.reject(new TypeError("fetch failed")) : fetch(...call)),
      retry: { attempts: 1, firstDelayMs: 0, maxDelayMs: 0 },
    });
    const source = newSource();
    const epochs: number[] = [];
    const order = { batchSize: 4, shuffle: true, seed: 9, epochs: 4 };
    try {
      for await (const { epoch, index, message } of own.streamBatches({
        dataset: dataset.name,
        ...order,
        source,
      })) {
        releaseMessage(message);
        if (index === 0) epochs.push(epoch);
        if (index === 0 && epoch === 1) await whenCached(token);
      }
      return { epochs, error: undefined };
    } catch (error) {
      return { epochs, error };
    }
  }

  test("ends at the next epoch when its token is revoked", async () => {
    const { epochs, error } = await epochsSeen(({ id }) =>
      gateway.database.sql.query({
        text: "UPDATE data_access_tokens SET revoked_at = now() WHERE id = $1",
        values: [id],
      }),
    );
    expect(error).toMatchObject({ code: "unauthenticated" });
    expect(epochs).toEqual([0, 1]);
  });

  test("goes on when the gateway is gone", async () => {
    const { epochs, error } = await epochsSeen(() => Promise.resolve((isGone = true)));
    expect(error).toBeUndefined();
    expect(epochs).toEqual([0, 1, 2, 3]);
  });
});

/** Indices of the items of epoch 0, in their order. */
async function firstBatches(): Promise<number[]> {
  const indices: number[] = [];
  for await (const batch of client.streamBatches({ dataset: dataset.name, batchSize: 4, shuffle: true }))
    indices.push(...batch.indices);
  return indices;
}
