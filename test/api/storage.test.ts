import { randomBytes } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { blake3 } from "@noble/hashes/blake3.js";
import { bytesToHex } from "@noble/hashes/utils.js";
import { startGateway, type TestGateway } from "../support/gateway.ts";
import { type DocumentedClient, documentedClient } from "./documented.ts";
import { addUser } from "./users.ts";

const CHUNK = 16_384;
const CHUNKS = 5;
const content = randomBytes(CHUNKS * CHUNK);

let gateway: TestGateway;
let client: DocumentedClient;
beforeAll(async () => {
  gateway = await startGateway({ bindings: { GC_GRACE_MS: "1", UPLOAD_LEASE_MS: "3600000" } });
  client = await documentedClient(gateway);
  await client.json("PUT", "/api/buckets/data", { chunk_bytes: CHUNK });
  await upload("kept", content);
});
afterAll(() => gateway.stop());

async function upload(key: string, bytes: Uint8Array): Promise<void> {
  const { body } = await client.json("POST", "/api/uploads", { bucket: "data", kind: "object", key });
  const part = `/api/uploads/${body.upload_id}/parts/1`;
  expect((await client.request(part, { method: "PUT", body: bytes as Uint8Array<ArrayBuffer> })).status).toBe(
    200,
  );
  expect((await client.json("POST", `/api/uploads/${body.upload_id}/complete`, { parts: 1 })).status).toBe(
    200,
  );
}

const read = async (key: string): Promise<Buffer> => {
  const response = await client.request(`/api/objects/data/${key}`);
  expect(response.status).toBe(200);
  return Buffer.from(await response.arrayBuffer());
};

async function emptyNode(node: number): Promise<void> {
  const bucket = await gateway.bucket(node);
  const { objects } = await bucket.list();
  await bucket.delete(objects.map(({ key }) => key));
}

/** Number of shards that lie on a node. */
const stored = async (node: number): Promise<number> =>
  (await (await gateway.bucket(node)).list()).objects.length;

interface Health {
  readonly nodes: readonly {
    name: string;
    state: string;
    reachable: boolean;
    shards: number;
    missing_shards: number;
  }[];
  readonly chunks: { readonly live: number; readonly writing: number; readonly condemned: number };
  readonly degraded_chunks: number;
  readonly repair_queue: number;
}
const health = async (): Promise<Health> => (await client.json("GET", "/api/storage/health")).body as Health;

describe("nodes", () => {
  test("are listed by name", async () => {
    const { status, body } = await client.json("GET", "/api/nodes");
    expect(status).toBe(200);
    expect(body.nodes).toHaveLength(6);
    expect(body.nodes.map(({ name }: { name: string }) => name)).toEqual(
      [1, 2, 3, 4, 5, 6].map((n) => `node-${n}`),
    );
    expect(body.nodes[0]).toMatchObject({ kind: "r2", state: "live" });
  });

  test("are healthy, and hold one shard of every chunk", async () => {
    expect(await health()).toEqual({
      nodes: [1, 2, 3, 4, 5, 6].map((n) => {
        return { name: `node-${n}`, state: "live", reachable: true, shards: CHUNKS, missing_shards: 0 };
      }),
      chunks: { live: CHUNKS, writing: 0, condemned: 0 },
      degraded_chunks: 0,
      repair_queue: 0,
    });
  });
});

test("a node that does not answer is told from those that do", async () => {
  const { sql } = gateway.database;
  await sql.query({
    text: "INSERT INTO storage_nodes (name, kind, address, state) VALUES ('node-7', 'http', 'http://127.0.0.1:9', 'draining')",
    values: [],
  });
  await gateway.restart();
  expect((await health()).nodes.map(({ reachable }) => reachable)).toEqual([...Array(6).fill(true), false]);
  expect((await client.json("GET", "/api/nodes")).body.nodes[6]).toMatchObject({
    kind: "http",
    state: "draining",
  });
  await sql.query({ text: "DELETE FROM storage_nodes WHERE name = 'node-7'", values: [] });
  await gateway.restart();
  expect((await health()).nodes).toHaveLength(6);
});

describe("two lost nodes", () => {
  beforeAll(async () => {
    await emptyNode(2);
    await emptyNode(5);
  });

  test("do not change what is read, are found by a scrub, and are rewritten", async () => {
    expect((await read("kept")).equals(content)).toBe(true);
    const scrub = await client.json("POST", "/api/admin/scrub", { max_chunks: 3 });
    expect(scrub).toMatchObject({ status: 200, body: { chunks: 3, unanswered: 0 } });
    const after = scrub.body.next_chunk_id as string;
    expect(await client.json("POST", "/api/admin/scrub", { after_chunk_id: after })).toMatchObject({
      body: { chunks: CHUNKS - 3, next_chunk_id: null },
    });
    const damaged = await health();
    expect(damaged).toMatchObject({ degraded_chunks: CHUNKS, repair_queue: 2 * CHUNKS });
    expect(damaged.nodes.map((node) => node.missing_shards)).toEqual([0, CHUNKS, 0, 0, CHUNKS, 0]);

    const repaired: {
      node: string;
      chunk_id: string;
      shard_index: number;
      generation: number;
      hash: string;
    }[] = [];
    for (let remaining = 2 * CHUNKS; remaining > 0;) {
      const { status, body } = await client.json("POST", "/api/admin/repair", { max_shards: 4 });
      expect(status).toBe(200);
      expect(body.failures).toEqual([]);
      expect(body.remaining).toBeLessThan(remaining);
      remaining = body.remaining as number;
      repaired.push(...body.shards);
    }
    expect(repaired).toHaveLength(2 * CHUNKS);
    for (const { node, chunk_id: chunk, shard_index: index, generation, hash } of repaired) {
      const bucket = await gateway.bucket(Number(node.slice("node-".length)));
      const object = await bucket.get(`${chunk}/${index}.${generation}`);
      expect(object, `${chunk}/${index}.${generation} on ${node}`).not.toBeNull();
      expect(bytesToHex(blake3(new Uint8Array((await object?.arrayBuffer()) as ArrayBuffer)))).toBe(hash);
    }
    expect(await health()).toMatchObject({ degraded_chunks: 0, repair_queue: 0 });
  });
});

describe("the scheduled run", () => {
  test("rewrites what reads found damaged", async () => {
    for (const node of [1, 3]) await emptyNode(node);
    await client.json("POST", "/api/admin/scrub");
    expect((await health()).repair_queue).toBe(2 * CHUNKS);
    await gateway.dispatchScheduled();
    expect(await health()).toMatchObject({ repair_queue: 0, degraded_chunks: 0 });
    for (const node of [2, 4]) await emptyNode(node);
    expect((await read("kept")).equals(content)).toBe(true);
    await client.json("POST", "/api/admin/scrub", { depth: "hash" });
    await gateway.dispatchScheduled();
    expect(await health()).toMatchObject({ repair_queue: 0 });
  });

  test("finds by itself what is missing, and rewrites it", async () => {
    await gateway.dispatchScheduled();
    const before = await stored(5);
    await emptyNode(5);
    await gateway.dispatchScheduled();
    expect(await stored(5)).toBe(0); // a pass was over, and the next begins a day later
    await gateway.database.sql.query({
      text: "UPDATE scrub_passes SET started_at = started_at - interval '1 day'",
      values: [],
    });
    await gateway.dispatchScheduled();
    expect(await health()).toMatchObject({ repair_queue: 0, degraded_chunks: 0 });
    expect(await stored(5)).toBe(before);
  });

  test("ends lapsed uploads and collects what nothing names", async () => {
    await upload("dropped", randomBytes(3 * CHUNK));
    const begun = await client.json("POST", "/api/uploads", {
      bucket: "data",
      kind: "object",
      key: "lapsed",
    });
    const id = begun.body.upload_id as string;
    await client.request(`/api/uploads/${id}/parts/1`, { method: "PUT", body: randomBytes(2 * CHUNK) });
    expect(await health()).toMatchObject({ chunks: { live: CHUNKS + 5 } });
    expect(await client.json("DELETE", "/api/objects/data/dropped")).toMatchObject({ status: 204 });
    const { sql } = gateway.database;
    await sql.query({
      text: "UPDATE upload_sessions SET lease_expires_at = now() - interval '1 hour' WHERE id = $1",
      values: [id],
    });

    await gateway.dispatchScheduled(); // condemns
    await sql.query({
      text: "UPDATE chunks SET condemned_at = now() - interval '1 hour' WHERE condemned_at IS NOT NULL",
      values: [],
    });
    await gateway.dispatchScheduled(); // deletes
    expect(await client.json("GET", `/api/uploads/${id}`)).toMatchObject({ status: 404 });
    expect(await health()).toMatchObject({ chunks: { live: CHUNKS, condemned: 0, writing: 0 } });
    const shards = await Promise.all([1, 2, 3, 4, 5, 6].map(stored));
    expect(shards.reduce((sum, count) => sum + count, 0)).toBe(6 * CHUNKS);
    expect((await read("kept")).equals(content)).toBe(true);
    expect(await client.json("POST", "/api/admin/gc")).toMatchObject({
      status: 200,
      body: { deleted_chunks: 0, deleted_shards: 0, failed_nodes: [], has_more: false },
    });
  });
});

test("three lost nodes are told by chunk and nodes, before a byte leaves", async () => {
  await upload("lost", content.subarray(0, CHUNK));
  for (const node of [1, 2, 3]) await emptyNode(node);
  const answer = await client.json("GET", "/api/objects/data/lost");
  expect(answer).toMatchObject({ status: 503, body: { code: "data_loss" } });
  expect(answer.body.detail).toMatch(/Chunk [0-9a-f-]{36} has lost 3 of its 6 shards/);
  for (const node of ["node-1", "node-2", "node-3"]) expect(answer.body.detail).toContain(node);
});

describe("administration", () => {
  test("is for administrators", async () => {
    const { apiKey } = await addUser(gateway, "somebody");
    for (const path of ["/api/admin/repair", "/api/admin/scrub", "/api/admin/gc"]) {
      const refused = await client.json("POST", path, undefined, { authorization: `Bearer ${apiKey}` });
      expect(refused).toMatchObject({ status: 403, body: { code: "permission_denied" } });
      const unknown = await client.json("POST", path, undefined, { authorization: "Bearer nothing" });
      expect(unknown).toMatchObject({ status: 401, body: { code: "unauthenticated" } });
    }
  });

  test.for([
    ["repair", { max_shards: 0 }, "max_shards", 1],
    ["repair", { max_shards: 1001 }, "max_shards", 1000],
    ["scrub", { max_chunks: 201 }, "max_chunks", 200],
    ["scrub", { depth: "deep" }, "depth", undefined],
    ["scrub", { after_chunk_id: "x" }, "after_chunk_id", undefined],
  ] as const)("refuses %s %j", async ([name, body, field, limit]) => {
    const answer = await client.json("POST", `/api/admin/${name}`, body);
    expect(answer).toMatchObject({ status: 400, body: { code: "invalid_argument", field } });
    expect(answer.body.limit).toBe(limit);
  });
});
