/** A real gateway with the datasets that the Python tests stream, described in a file that pytest reads. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { findFiles, openFiles } from "../../cli/walk.ts";
import { DataStreamClient } from "../../client/client.ts";
import type { StreamOptions } from "../../client/stream/options.ts";
import { toHex } from "../../core/bytes.ts";
import { writeDigits } from "../../scripts/demo/digits.ts";
import { startGateway, type TestGateway } from "../support/gateway.ts";

export interface World {
  readonly gateway: TestGateway;
  readonly client: DataStreamClient;
  /** What pytest is told: see `live` in python/tests/conftest.py. */
  readonly file: string;
  close(): Promise<void>;
}

/** Few subrequests, so that responses end early and are continued. */
const SUBREQUESTS = "150";
const SIDE = 6;

/** Digits as PNG in class folders, small npy arrays, raw tensors and plain text, each with a token. */
export async function createWorld(): Promise<World> {
  const gateway = await startGateway({ bindings: { INVOCATION_SUBREQUESTS: SUBREQUESTS } });
  const folder = mkdtempSync(join(tmpdir(), "cyxcloud-python-"));
  const client = new DataStreamClient({ gateway: gateway.url, apiKey: gateway.owner.apiKey });
  const digits = join(folder, "digits");
  writeDigits(digits);
  await client.objects.ensureBucket("data", { chunkBytes: 16 * 1024 });
  await client.uploadFolder({ bucket: "data", prefix: "digits/" }, openFiles(await findFiles(digits)));
  const items: readonly [name: string, bytes: (i: number) => Uint8Array, schema: Record<string, unknown>][] =
    [
      ["arrays", npy, { type: "tensor", format: "npy", labels: "path" }],
      ["raw", (i) => floats(i), { type: "tensor", format: "raw", shape: [SIDE], dtype: "float32" }],
      ["texts", (i) => new TextEncoder().encode(`text ${"x".repeat(i)} ✓`), { type: "text", format: "txt" }],
    ];
  await client.datasets.create({
    name: "digits",
    files: ["data/digits/**/*.png"],
    schema: { type: "image", format: "png", shape: [8, 8, 1], dtype: "uint8", labels: "path" },
  });
  for (const [name, bytes, schema] of items) {
    const files = Array.from({ length: 50 }, (_, i) => ({
      path: `${name}/class-${i % 3}/${String(i).padStart(3, "0")}`,
      body: new Blob([bytes(i) as Uint8Array<ArrayBuffer>]),
    }));
    for (const { path, body } of files) await client.uploadObject({ bucket: "data", key: path }, body);
    await client.datasets.create({ name, files: [`data/${name}/**`], schema });
  }
  const tokens: Record<string, string> = {};
  for (const name of ["digits", "arrays", "raw", "texts"])
    tokens[name] = (await client.datasets.createToken(name)).token;
  const told = { gateway: gateway.url, tokens, streams: await expectedStreams(client) };
  const file = join(folder, "world.json");
  writeFileSync(file, JSON.stringify(told));
  return {
    gateway,
    client,
    file,
    close: async () => {
      await gateway.stop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** What this repository's own client makes of some streams: the other language must agree batch by batch. */
async function expectedStreams(client: DataStreamClient): Promise<unknown[]> {
  const train = { prefix: "train/" };
  const cases: readonly Omit<StreamOptions, "dataset">[] = [
    { batchSize: 64 },
    { batchSize: 50, shuffle: "full", seed: 7n, epoch: 3, rank: 1, worldSize: 3, filter: train },
    { batchSize: 48, shuffle: "block", seed: -1n, rank: 0, worldSize: 2, tail: "pad" },
    {
      batchSize: 32,
      shuffle: "block",
      seed: 2n ** 63n,
      block: { blockSize: 5, lanes: 4, blocksPerGroup: 3 },
      tail: "drop_last",
      filter: { globs: ["train/{1,2,[5-7]}/**", "held-out/*/*7.png"] },
    },
  ];
  const streams = [];
  for (const options of cases) {
    const indices: (readonly number[])[] = [];
    let last = "";
    for await (const batch of client.streamBatches({ dataset: "digits", ...options })) {
      indices.push(batch.indices);
      last = toHex(batch.transcriptHead);
    }
    const { seed, block, ...rest } = options;
    streams.push({
      options: {
        ...rest,
        seed: String(seed ?? 0),
        ...(block && {
          block: { block_size: block.blockSize, lanes: block.lanes, blocks_per_group: block.blocksPerGroup },
        }),
      },
      indices,
      head: last,
    });
  }
  return streams;
}

function floats(i: number): Uint8Array {
  return new Uint8Array(Float32Array.from({ length: SIDE }, (_, k) => i + k / 8).buffer);
}

/** Version 1 of https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html */
function npy(i: number): Uint8Array {
  const text = `{'descr': '<f4', 'fortran_order': False, 'shape': (2, ${SIDE / 2}), }`;
  const header = `${text.padEnd(117)}\n`;
  const bytes = new Uint8Array(10 + header.length + SIDE * 4);
  bytes.set([0x93, ...new TextEncoder().encode("NUMPY"), 1, 0, header.length, 0]);
  bytes.set(new TextEncoder().encode(header), 10);
  bytes.set(floats(i), 10 + header.length);
  return bytes;
}
