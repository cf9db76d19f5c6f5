import { afterAll, beforeAll, expect, test } from "vitest";
import type { BatchResponse } from "../../proto/index.ts";
import { expectBatches } from "./expected.ts";
import { addDataset, noiseFiles, startStreamGateway, type StreamGateway } from "./fixture.ts";
import { readAll } from "./wire.ts";

let gateway: StreamGateway;
beforeAll(async () => {
  gateway = await startStreamGateway({ onLog: () => {} }); // losses are logged as errors
});
afterAll(() => gateway.stop());

interface ShardRow {
  readonly node: string;
  readonly index: number;
  readonly key: string;
}

/** Shards of the chunk that holds a dataset's file. */
async function shardsOf(datasetId: string, file: number): Promise<{ chunk: string; shards: ShardRow[] }> {
  const rows = await gateway.database.sql.query({
    text: `SELECT s.chunk_id, s.shard_index, s.generation, n.name FROM dataset_files f
      JOIN extents e ON e.object_id = f.object_id JOIN shards s ON s.chunk_id = e.chunk_id
      JOIN storage_nodes n ON n.id = s.node_id
      WHERE f.dataset_id = $1 AND f.file_index = $2 ORDER BY s.shard_index`,
    values: [datasetId, file],
  });
  return {
    chunk: rows[0]?.["chunk_id"] as string,
    shards: rows.map((row) => ({
      node: row["name"] as string,
      index: row["shard_index"] as number,
      key: `${row["chunk_id"] as string}/${row["shard_index"] as number}.${row["generation"] as number}`,
    })),
  };
}

const nodeNumber = (name: string): number => Number(name.slice("node-".length));

test.each([
  ["two emptied nodes", [2, 5], 0],
  ["an emptied node and a lying shard of each chunk", [3], 1],
  ["two lying shards of each chunk", [], 2],
])("%s leave every batch and transcript as it was", async (_, emptied, lying) => {
  const dataset = await addDataset(
    gateway,
    noiseFiles(90, (i) => 2000 + 31 * i),
    { chunkBytes: 32 * 1024 },
  );
  const { token } = await dataset.token();
  const init = { datasetId: dataset.id, accessToken: token, batchSize: 8, shuffle: true, seed: 5n };
  const whole = await readAll(gateway.url, init);

  const rows = await Promise.all(dataset.files.map((__, file) => shardsOf(dataset.id, file)));
  const chunks = new Map(rows.map(({ chunk, shards }) => [chunk, shards]));
  for (const shards of chunks.values()) {
    const gone = shards.filter(({ node }) => emptied.includes(nodeNumber(node)));
    for (const { node, key } of gone) await (await gateway.bucket(nodeNumber(node))).delete(key);
    const liars = shards.filter((shard) => shard.index < 4 && !gone.includes(shard)).slice(0, lying);
    for (const { node, key } of liars) {
      const bucket = await gateway.bucket(nodeNumber(node));
      const stored = (await bucket.get(key)) as unknown as { arrayBuffer(): Promise<ArrayBuffer> };
      const bytes = new Uint8Array(await stored.arrayBuffer());
      await bucket.put(
        key,
        bytes.map((byte) => byte ^ 0x10),
      );
    }
  }
  await gateway.restart();

  const { batches, end } = await readAll(gateway.url, init);
  expect(end.code).toBeUndefined();
  expectBatches(dataset, { batchSize: 8, mode: "full", seed: 5n }, batches);
  expect(batches.map(({ transcriptHead }) => transcriptHead)).toEqual(
    whole.batches.map(({ transcriptHead }) => transcriptHead),
  );
});

test("more lost shards than parity end the stream before the batch, naming chunk and nodes", async () => {
  const dataset = await addDataset(
    gateway,
    noiseFiles(64, () => 4096),
    { chunkBytes: 16 * 1024 },
  );
  const { token } = await dataset.token();
  // The chunk of a late file loses three of its six shards.
  const { chunk, shards } = await shardsOf(dataset.id, 50);
  const lost = [0, 2, 3].map((index) => shards[index] as ShardRow);
  for (const { node, key } of lost) await (await gateway.bucket(nodeNumber(node))).delete(key);

  const { batches, end } = await readAll(gateway.url, {
    datasetId: dataset.id,
    accessToken: token,
    batchSize: 4,
  });
  expect(end.code).toBe("data_loss");
  expect(end.message).toContain(chunk);
  for (const { node } of lost) expect(end.message).toContain(node);
  expectBatches(dataset, { batchSize: 4 }, batches);
  expect(batches.length).toBeGreaterThan(5);
  expect(batches.length).toBeLessThanOrEqual(12);
  expect(batches.some(({ isLast }: BatchResponse) => isLast)).toBe(false);
});
