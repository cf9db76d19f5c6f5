/** Where our own client and the gateway have to agree, at the edges of what a request may say. */
import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { DataStreamClient } from "../../client/client.ts";
import type { Batch } from "../../client/stream/batch.ts";
import type { StreamOptions } from "../../client/stream/options.ts";
import { DataStreamError } from "../../core/errors.ts";
import { noise, noiseFiles, startStreamGateway, type StreamGateway, type TestFile } from "./fixture.ts";

const RETRY = { attempts: 3, firstDelayMs: 0, maxDelayMs: 0 };

let gateway: StreamGateway;
let client: DataStreamClient;
beforeAll(async () => {
  gateway = await startStreamGateway();
  client = new DataStreamClient({ gateway: gateway.url, apiKey: gateway.owner.apiKey, retry: RETRY });
});
afterAll(() => gateway.stop());

type Options = Omit<StreamOptions, "dataset" | "batchSize"> & { batchSize?: number };

/** Name of a dataset that the gateway itself makes of these files. */
async function create(files: readonly TestFile[]): Promise<string> {
  const name = `set-${randomUUID().slice(0, 8)}`;
  await client.objects.ensureBucket(name, { chunkBytes: 64 * 1024 });
  await client.uploadFolder(
    { bucket: name, prefix: "files/" },
    (async function* () {
      for (const { path, bytes } of files) yield { path, blob: new Blob([bytes as Uint8Array<ArrayBuffer>]) };
    })(),
  );
  await client.datasets.create({
    name,
    files: [`${name}/files/**`],
    schema: { type: "bytes", format: "bin" },
  });
  return name;
}

async function stream(dataset: string, options: Options = {}): Promise<Batch[]> {
  const batches: Batch[] = [];
  for await (const batch of client.streamBatches({ dataset, batchSize: 4, retry: RETRY, ...options }))
    batches.push(batch);
  return batches;
}

const pathsOf = (batches: readonly Batch[]): string[] => batches.flatMap((batch) => batch.paths);

async function failureOf(action: Promise<unknown>): Promise<DataStreamError> {
  const thrown = await action.then(
    () => undefined,
    (error: unknown) => error,
  );
  expect(thrown).toBeInstanceOf(DataStreamError);
  return thrown as DataStreamError;
}

describe("filters", () => {
  let dataset: string;
  beforeAll(async () => {
    dataset = await create(noiseFiles(20, () => 100));
  });

  test.each<[string, StreamOptions["filter"], number]>([
    ["an empty prefix", { prefix: "" }, 20],
    ["no condition", {}, 20],
    ["no globs", { globs: [] }, 20],
    ["a prefix and no globs", { prefix: "class-1/", globs: [] }, 4],
    ["an empty prefix and a glob", { prefix: "", globs: ["class-2/*"] }, 4],
    ["a prefix alone", { prefix: "class-3/" }, 4],
    ["both", { prefix: "class-3/", globs: ["**/*8.bin"] }, 2],
  ])("%s means the same on both sides", async (_, filter, count) => {
    const batches = await stream(dataset, { ...(filter && { filter }), shuffle: true, seed: -1n });
    expect(new Set(pathsOf(batches)).size).toBe(count);
  });
});

describe("ends", () => {
  test("of more ranks than items: the others get nothing, and end", async () => {
    const dataset = await create(noiseFiles(2, () => 50));
    const streamId = randomUUID();
    for (const tail of ["short", "drop_last", "pad"] as const) {
      const counts = [];
      for (let rank = 0; rank < 4; rank++) {
        const batches = await stream(dataset, {
          rank,
          worldSize: 4,
          tail,
          streamId: `${streamId}-${tail}`,
          batchSize: 1,
        });
        counts.push(batches.length);
        const again = await stream(dataset, {
          rank,
          worldSize: 4,
          tail,
          streamId: `${streamId}-${tail}`,
          batchSize: 1,
        });
        expect(again).toEqual([]);
      }
      expect(counts).toEqual({ short: [1, 1, 0, 0], drop_last: [0, 0, 0, 0], pad: [1, 1, 1, 1] }[tail]);
    }
  });

  test("of a single item, items without bytes, and an item of several chunks", async () => {
    const files = [
      { path: "empty", bytes: new Uint8Array() },
      { path: "large", bytes: noise(300_000, 1) },
      { path: "nothing", bytes: new Uint8Array() },
    ];
    for (const chosen of [files, files.slice(0, 1), files.slice(1, 2)]) {
      const dataset = await create(chosen);
      for (const shuffle of [false, "full", "block"] as const)
        for (const batchHash of ["framed", "concatenated"] as const) {
          const batches = await stream(dataset, { shuffle, batchHash, batchSize: 2, tail: "pad", epochs: 2 });
          expect(new Set(pathsOf(batches)).size).toBe(chosen.length);
        }
    }
  });

  test("an acknowledged stream has nothing more to send", async () => {
    const dataset = await create(noiseFiles(10, () => 50));
    const streamId = 'a b/ü"\\%2F';
    expect(await stream(dataset, { streamId, startIndex: 3 })).toHaveLength(2);
    expect(await stream(dataset, { streamId, startIndex: 3 })).toEqual([]);
    expect(await stream(dataset, { streamId, startIndex: 3, epochs: 2 })).toHaveLength(3);
  });

  test("epochs that overlap are acknowledged each to its end", async () => {
    const dataset = await create(noiseFiles(30, () => 50));
    const streamId = randomUUID();
    const position = { epoch: 0, start_index: 0, batch_index: 0, world_size: 1, batch_size: 4 };
    // Every batch of an epoch is received before the first of them is acknowledged.
    const options = { streamId, epochs: 3, prefetchBatches: 12 };
    expect(await stream(dataset, { ...options, position })).toHaveLength(24);
    expect(await stream(dataset, options)).toEqual([]);
  });

  test("a stream of one processing does not go on with another", async () => {
    const dataset = await create(noiseFiles(8, () => 50));
    const [one, other] = [1, 2].map((mark) => new Uint8Array(32).fill(mark)) as [Uint8Array, Uint8Array];
    const streamId = randomUUID();
    const batches = await stream(dataset, { streamId, processingHash: one });
    const again = await stream(dataset, { processingHash: one });
    expect(again.at(-1)?.transcriptHead).toEqual(batches.at(-1)?.transcriptHead);
    expect(await failureOf(stream(dataset, { streamId, processingHash: other }))).toMatchObject({
      code: "failed_precondition",
      message: expect.stringMatching(/^\[failed_precondition\] processing_hash: |^processing_hash: /),
    });
    expect(await failureOf(stream(dataset, { streamId }))).toMatchObject({ code: "failed_precondition" });
    expect(await failureOf(stream(dataset, { processingHash: new Uint8Array(8) }))).toMatchObject({
      code: "invalid_argument",
      details: { field: "processingHash" },
    });
  });

  test("the last epoch that the protocol can count", async () => {
    const dataset = await create(noiseFiles(3, () => 50));
    expect(await stream(dataset, { epoch: 2 ** 32 - 1, shuffle: true })).toHaveLength(1);
    expect(await failureOf(stream(dataset, { epoch: 2 ** 32 - 1, epochs: 2 }))).toMatchObject({
      code: "invalid_argument",
      details: { field: "epoch" },
    });
  });
});

test("a batch filled by repetition keeps the limit of a batch", async () => {
  const dataset = await create([{ path: "a/large.bin", bytes: noise(12 * 1024 * 1024, 1) }]);
  for (const init of [{ batchSize: 4 }, { batchSize: 3, worldSize: 2 }]) {
    const error = await failureOf(stream(dataset, { tail: "pad", ...init }));
    expect(error.code).toBe("invalid_argument");
    expect(error.message).toMatch(/^batch_size: a batch of . items .* 33554432 are allowed/);
  }
  expect(await stream(dataset, { tail: "pad", batchSize: 2 })).toHaveLength(1);
});
