/** Buckets at the ends of what six storage nodes can hold. */
import { randomBytes } from "node:crypto";
import { afterEach, expect, test } from "vitest";
import { startGateway, type TestGateway } from "../support/gateway.ts";
import { type DocumentedClient, documentedClient } from "./documented.ts";

let gateway: TestGateway | undefined;
afterEach(async () => {
  await gateway?.stop();
  gateway = undefined;
});

async function start(): Promise<DocumentedClient> {
  gateway = await startGateway();
  return documentedClient(gateway);
}

async function roundTrip(client: DocumentedClient, bucket: string, bytes: number): Promise<void> {
  const content = randomBytes(bytes);
  const { body } = await client.json("POST", "/api/uploads", { bucket, kind: "object", key: "k" });
  const part = await client.request(`/api/uploads/${body.upload_id}/parts/1`, {
    method: "PUT",
    body: content,
  });
  expect(part.status).toBe(200);
  await client.json("POST", `/api/uploads/${body.upload_id}/complete`, { parts: 1 });
  const answer = await client.request(`/api/objects/${bucket}/k`);
  expect(Buffer.from(await answer.arrayBuffer()).equals(content)).toBe(true);
}

test("every geometry that is accepted can be written and read", async () => {
  const client = await start();
  const MIB = 1024 * 1024;
  for (const [data_shards, parity_shards, chunk_bytes] of [
    [1, 1, 16 * MIB],
    [2, 2, 16 * MIB],
    [1, 4, 4 * MIB],
    [5, 1, 4096],
  ] as const) {
    const bucket = `geometry-${data_shards}-${parity_shards}`;
    const created = await client.json("PUT", `/api/buckets/${bucket}`, {
      data_shards,
      parity_shards,
      chunk_bytes,
    });
    expect(created.status).toBe(201);
    await roundTrip(client, bucket, chunk_bytes - 5);
  }
});

test("one that takes more memory than there is for writing is refused at once", async () => {
  const client = await start();
  const answer = await client.json("PUT", "/api/buckets/broad", { data_shards: 1, parity_shards: 4 });
  expect(answer).toMatchObject({
    status: 400,
    body: { code: "invalid_argument", field: "chunk_bytes", limit: 32 * 1024 * 1024 },
  });
});

test("a bucket exists and takes objects while a node of it drains", async () => {
  const client = await start();
  // The gateway has not read its nodes yet.
  const { sql } = (gateway as TestGateway).database;
  await sql.query({
    text: "INSERT INTO buckets (owner_id, name, chunk_bytes, data_shards, parity_shards) VALUES ($1, 'data', 4096, 4, 2)",
    values: [(gateway as TestGateway).owner.userId],
  });
  await sql.query({ text: "UPDATE storage_nodes SET state = 'draining' WHERE name = 'node-3'", values: [] });
  expect(await client.json("PUT", "/api/buckets/data", {})).toMatchObject({ status: 200 });
  await roundTrip(client, "data", 10_000);
  expect(await client.json("PUT", "/api/buckets/other", {})).toMatchObject({
    status: 400,
    body: { limit: 5 },
  });
});
