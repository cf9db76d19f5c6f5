import { existsSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import type { StreamRequest } from "../../../companion/handoff/messages.ts";
import { startCompanion, type TestCompanion } from "./companions.ts";
import { HandoffClient, type BatchMessage } from "./handoff-client.ts";
import { classOf, DATASET, FILES, ITEM_BYTES, SIDE, startLetters, type Letters } from "./letters.ts";

let letters: Letters;
let companion: TestCompanion;
beforeAll(async () => {
  letters = await startLetters();
  companion = await startCompanion({ gateway: letters.gateway.url });
});
afterAll(async () => {
  await companion.close();
  await letters.stop();
});

const clients: HandoffClient[] = [];
afterEach(async () => {
  for (const client of clients.splice(0)) client.kill();
  await companion.companion.quiet();
  expect(companion.companion.streams).toBe(0);
});

async function connect(): Promise<HandoffClient> {
  const client = await HandoffClient.connect(companion.socket);
  clients.push(client);
  return client;
}

const request = (more: Partial<StreamRequest> = {}): StreamRequest => ({
  dataset: DATASET,
  access_token: letters.token,
  batch_size: 8,
  ...more,
});

/** The items of a batch, after a look at every byte of it. */
function itemsOf(client: HandoffClient, batch: BatchMessage): number[] {
  const data = client.read(batch, "data");
  const labels = client.read(batch, "labels");
  const indices = client.read(batch, "indices");
  return Array.from({ length: batch.count }, (_, n) => {
    const index = Number(indices.readBigUInt64LE(8 * n));
    expect(new Set(data.subarray(n * ITEM_BYTES, (n + 1) * ITEM_BYTES))).toEqual(new Set([index]));
    expect(labels.readInt32LE(4 * n)).toBe(classOf(index) === "a" ? 0 : 1);
    return index;
  });
}

test("two epochs come through the ring, right in every byte, and its file is gone", async () => {
  const client = await connect();
  const opened = await client.open(request({ shuffle: true, seed: "7", epochs: 2 }));
  expect(opened).toMatchObject({
    backend: "shm",
    count: FILES,
    total_batches: 7,
    batches_per_epoch: 7,
    format: { kind: "tensor", dtype: "uint8", shape: [SIDE, SIDE, 1], layout: "NHWC" },
    dataset: { name: DATASET, version: 1, count: FILES, trust_level: 0 },
    ring: { slots: 4 },
  });
  const epochs: number[][] = [[], []];
  for await (const batch of client.batches()) {
    expect(existsSync(opened.ring?.path as string)).toBe(false);
    epochs[batch.epoch]?.push(...itemsOf(client, batch));
  }
  for (const epoch of epochs)
    expect(epoch.toSorted((a, b) => a - b)).toEqual(Array.from({ length: FILES }, (_, i) => i));
  expect(epochs[0]).not.toEqual(epochs[1]);
});

test("a position goes on where the consumer stood, on another world size, too", async () => {
  const options = { shuffle: true, seed: "-3" } as const;
  const whole = await connect();
  await whole.open(request(options));
  const batches: number[][] = [];
  let position: BatchMessage["position"] | undefined;
  for await (const batch of whole.batches()) {
    batches.push(itemsOf(whole, batch));
    if (batch.index === 2) ({ position } = batch);
  }

  const rest = batches.slice(3).flat();
  const same = await connect();
  expect(await same.open(request({ ...options, ...(position && { position }) }))).toMatchObject({
    total_batches: 4,
  });
  const seen: number[] = [];
  for await (const batch of same.batches()) seen.push(...itemsOf(same, batch));
  expect(seen).toEqual(rest);

  const ranks = [];
  for (const rank of [0, 1]) {
    const client = await connect();
    await client.open(request({ ...options, ...(position && { position }), rank, world_size: 2 }));
    for await (const batch of client.batches()) ranks.push(...itemsOf(client, batch));
  }
  expect(ranks.toSorted((a, b) => a - b)).toEqual(rest.toSorted((a, b) => a - b));
});

test("a description starts nothing; the stream may follow on the same connection", async () => {
  const client = await connect();
  client.send({ type: "describe", ...request({ filter: { prefix: "a/" }, stream_id: "described" }) });
  expect(await client.expect("described")).toMatchObject({
    stream_id: "described",
    count: FILES / 2,
    total_batches: 4,
    batches_per_epoch: 4,
    format: null,
  });
  client.send({ type: "describe", ...request({ batch_size: 10, world_size: 2, rank: 1 }) });
  expect(await client.expect("described")).toMatchObject({ stream_id: null, total_batches: 3 });
  expect(companion.companion.streams).toBe(0);
  await client.open(request());
});

test("paths are told while a batch is held", async () => {
  const client = await connect();
  await client.open(request());
  const batch = await client.expect("batch");
  client.send({ type: "paths", lease: batch.lease });
  for (;;) {
    const message = await client.next();
    if (message?.type === "batch") continue;
    const paths = Array.from({ length: 8 }, (_, i) => `a/${String(i).padStart(3, "0")}.png`);
    expect(message).toEqual({ type: "paths", lease: batch.lease, paths });
    break;
  }
});

test("a stream that has nothing left opens without a ring, and ends", async () => {
  const client = await connect();
  const position = { epoch: 0, start_index: 0, batch_index: 7, world_size: 1, batch_size: 8 };
  client.send({ type: "open", ...request({ position }) });
  expect(await client.expect("opened")).toMatchObject({ ring: null, total_batches: 0, format: null });
  await client.expect("end");
});

test("processing is done in the companion, and fixes the stream", async () => {
  const steps = [
    { op: "resize", size: [3, 3] },
    { op: "cast", dtype: "float32" },
    { op: "layout", order: "NCHW" },
  ];
  const client = await connect();
  const opened = await client.open(request({ processing: { version: 1, steps }, stream_id: "processed" }));
  expect(opened.format).toMatchObject({ dtype: "float32", shape: [1, 3, 3], layout: "NCHW" });
  for await (const batch of client.batches()) {
    const data = client.read(batch, "data");
    const indices = client.read(batch, "indices");
    for (let n = 0; n < batch.count; n++)
      expect(data.readFloatLE(n * 9 * 4)).toBeCloseTo(Number(indices.readBigUInt64LE(8 * n)) / 255, 6);
  }

  const other = await connect();
  other.send({ type: "open", ...request({ stream_id: "processed" }) });
  expect(await other.expect("error")).toMatchObject({ code: "failed_precondition" });
  await other.closed();
});

test.each<[what: string, change: Partial<StreamRequest>, error: object]>([
  ["a dataset of another token", { dataset: "none" }, { code: "permission_denied" }],
  ["a token that is none", { access_token: "eyJ.no.token" }, { code: "unauthenticated" }],
  [
    "a batch size out of bounds",
    { batch_size: 70_000 },
    { code: "invalid_argument", details: { field: "batch_size" } },
  ],
  [
    "a rank out of bounds",
    { rank: 3, world_size: 2 },
    { code: "invalid_argument", details: { field: "rank" } },
  ],
  ["a filter that matches nothing", { filter: { prefix: "z/" } }, { code: "invalid_argument" }],
  [
    "a processing that is unknown",
    { processing: { version: 1, steps: [{ op: "paint" }] } },
    { code: "invalid_argument" },
  ],
  [
    "a backend without its device",
    { backend: "cuda-ipc" },
    { code: expect.stringMatching(/^(failed_precondition|invalid_argument)$/) as string },
  ],
  ["another schema", { schema_hash: "0".repeat(64) }, { code: "data_loss" }],
  ["a gateway that is not there", { gateway: "http://127.0.0.1:9" }, { code: "unavailable" }],
])("%s is refused, and nothing stays open", async (_, change, error) => {
  const client = await connect();
  client.send({ type: "open", ...request(change) });
  expect(await client.expect("error")).toMatchObject(error);
  await client.closed();
});

test.each([
  ["a release of what is not held", { type: "release", lease: 9_999, slot: 0 }],
  ["a second open", { type: "open", dataset: "x", access_token: "t", batch_size: 1 }],
  ["a second attached", { type: "attached" }],
  ["paths of what is not held", { type: "paths", lease: 9_999 }],
])("%s ends the connection", async (_, message) => {
  const client = await connect();
  await client.open(request());
  await client.expect("batch");
  client.send(message);
  for (;;) {
    const answer = await client.next();
    if (answer?.type === "batch") continue;
    expect(answer).toMatchObject({ type: "error", code: "invalid_argument" });
    break;
  }
  await client.closed();
});

test("the second epoch comes from the cache where there is one, unless a client wants none", async () => {
  const folder = join(companion.folder, "cache");
  const caching = await startCompanion({
    gateway: letters.gateway.url,
    cache_folder: folder,
    cache_limit: "256MiB",
  });
  const hits = async (): Promise<number> => {
    const metrics = await (await fetch(`${caching.url}/metrics`)).text();
    return Number(/cyxcloud_companion_cache_hits_total (\d+)/.exec(metrics)?.[1]);
  };
  for (const cache of [false, true]) {
    const client = await HandoffClient.connect(caching.socket);
    await client.open(request({ cache, epochs: 2, shuffle: true }));
    const seen: number[] = [];
    for await (const batch of client.batches()) seen.push(...itemsOf(client, batch));
    expect(seen).toHaveLength(2 * FILES);
    client.kill();
    await caching.companion.quiet();
    expect(await hits()).toBe(cache ? FILES : 0);
  }
  await caching.close();
});

test("tokens never reach the log", () => {
  expect(companion.log.length).toBeGreaterThan(20);
  expect(JSON.stringify(companion.log)).not.toContain("eyJ");
});
