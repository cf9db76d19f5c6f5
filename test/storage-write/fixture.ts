/** A catalogue on real PostgreSQL, nodes in memory, and an independent way to read back what uploads wrote. */
import { blake3 } from "@noble/hashes/blake3.js";
import { expect } from "vitest";
import { ensureBucket } from "../../catalog/buckets.ts";
import { findLiveObject, listObjects } from "../../catalog/objects.ts";
import { writeCatalog } from "../../catalog/write-catalog.ts";
import { toHex } from "../../core/bytes.ts";
import { ISOLATE_BUDGET_BYTES } from "../../core/limits.ts";
import type { ShardStore, Sql, SqlRow } from "../../core/ports.ts";
import { type Kernels, loadKernels } from "../../kernels/index.ts";
import { ByteBudget } from "../../storage/byte-budget.ts";
import { collectGarbage, type GarbageDeps } from "../../storage/collect-garbage.ts";
import { ConnectionGate } from "../../storage/connections.ts";
import { MemoryShardStore } from "../../storage/memory-shard-store.ts";
import type { StorageNode } from "../../storage/nodes.ts";
import { completeUpload } from "../../storage/uploads/complete.ts";
import type { UploadDeps } from "../../storage/uploads/deps.ts";
import { putPart } from "../../storage/uploads/put-part.ts";
import { createUpload, type CreateUpload } from "../../storage/uploads/sessions.ts";
import { createDatabase } from "../support/database.ts";

export const HOUR: number = 3_600_000;
export const GRACE: number = 24 * HOUR;

const kernels: Kernels = await loadKernels();

export interface Bench {
  readonly sql: Sql;
  readonly databaseUrl: string;
  readonly ownerId: string;
  readonly bucketId: string;
  readonly stores: readonly MemoryShardStore[];
  readonly nodeIds: readonly string[];
  readonly clock: { time: number; now(): number };
  /** Dependencies with any of them replaced. `sql` and `wrap` are where faults go in. */
  deps(overrides?: DepsOverrides): UploadDeps & GarbageDeps;
  close(): Promise<void>;
}

export interface DepsOverrides {
  readonly sql?: Sql;
  readonly wrap?: (store: ShardStore, index: number) => ShardStore;
  readonly draining?: readonly number[];
  readonly budget?: ByteBudget;
}

export async function createBench(
  bucket: { chunkBytes?: number; dataShards?: number; parityShards?: number } = {},
): Promise<Bench> {
  const database = await createDatabase();
  const { sql } = database;
  const ownerId = await insertId(sql, "insert into users (name, role) values ('ada', 'owner') returning id");
  const count = (bucket.dataShards ?? 4) + (bucket.parityShards ?? 2);
  const nodeIds: string[] = [];
  for (let i = 1; i <= count; i++)
    nodeIds.push(
      await insertId(
        sql,
        `insert into storage_nodes (name, kind, address) values ('node-${i}', 'r2', 'NODE_${i}') returning id`,
      ),
    );
  const stores = nodeIds.map(() => new MemoryShardStore());
  const created = await ensureBucket(sql, {
    ownerId,
    name: "data",
    chunkBytes: bucket.chunkBytes ?? 4096,
    dataShards: bucket.dataShards ?? 4,
    parityShards: bucket.parityShards ?? 2,
  });
  const clock = { time: Date.UTC(2026, 10, 22), now: () => clock.time };
  return {
    sql,
    databaseUrl: database.url,
    ownerId,
    bucketId: created.bucket.id,
    stores,
    nodeIds,
    clock,
    deps({ sql: faulty = sql, wrap, draining = [], budget }: DepsOverrides = {}) {
      const nodes = nodeIds.map((id, index): [string, StorageNode] => {
        const memory = stores[index] as MemoryShardStore;
        const store = wrap === undefined ? memory : wrap(memory, index);
        const state = draining.includes(index) ? "draining" : "live";
        return [id, { id, name: `node-${index + 1}`, state, store }];
      });
      return {
        catalog: writeCatalog(faulty),
        nodes: new Map(nodes),
        kernels,
        budget: budget ?? new ByteBudget(ISOLATE_BUDGET_BYTES),
        connections: new ConnectionGate(),
        clock,
      };
    },
    close: () => database.close(),
  };
}

async function insertId(sql: Sql, text: string): Promise<string> {
  return (await sql.query({ text, values: [] }))[0]?.["id"] as string;
}

/** Bytes that differ from each other in every 64-byte block. */
export function patterned(length: number, seed = 1): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length);
  let state = (seed * 2_654_435_761) >>> 0 || 1;
  for (let i = 0; i < length; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    bytes[i] = state;
  }
  return bytes;
}

/** A body that arrives in pieces. */
export function bodyOf(bytes: Uint8Array, pieceBytes = 1000): ReadableStream<Uint8Array> {
  let at = 0;
  return new ReadableStream({
    pull(controller) {
      if (at < bytes.length) controller.enqueue(bytes.slice(at, (at += pieceBytes)));
      else controller.close();
    },
  });
}

/** The whole life of an upload; `parts` are the bodies in order. */
export async function upload(
  bench: Bench,
  deps: UploadDeps,
  request: Omit<CreateUpload, "bucketId">,
  parts: readonly Uint8Array[],
  contentHash?: Uint8Array,
): ReturnType<typeof completeUpload> {
  const { id } = await createUpload(deps, { ...request, bucketId: bench.bucketId });
  for (const [i, part] of parts.entries()) await putWhole(bench, deps, id, i + 1, part);
  return completeUpload(deps, {
    uploadId: id,
    ownerId: bench.ownerId,
    parts: parts.length,
    ...(contentHash && { contentHash }),
  });
}

export function putWhole(
  bench: Bench,
  deps: UploadDeps,
  uploadId: string,
  partNumber: number,
  bytes: Uint8Array,
): ReturnType<typeof putPart> {
  const { ownerId } = bench;
  return putPart(deps, { uploadId, ownerId, partNumber, body: bodyOf(bytes), declaredLength: bytes.length });
}

export function cut(bytes: Uint8Array, partBytes: number): Uint8Array[] {
  const count = Math.max(1, Math.ceil(bytes.length / partBytes));
  return Array.from({ length: count }, (_, i) => bytes.subarray(i * partBytes, (i + 1) * partBytes));
}

/** Everything that is visible, read back and checked: key → bytes. */
export async function readAll(bench: Bench): Promise<Map<string, Uint8Array>> {
  const found = new Map<string, Uint8Array>();
  let after: string | undefined;
  for (;;) {
    const page = await listObjects(bench.sql, {
      bucketId: bench.bucketId,
      limit: 100,
      ...(after !== undefined && { after }),
    });
    for (const { key } of page.objects) found.set(key, (await readBack(bench, key)) as Uint8Array);
    if (page.nextAfter === null) return found;
    after = page.nextAfter;
  }
}

/**
 * Reads an object from the catalogue's rows and the stores, checking each chunk and the object against their
 * BLAKE3 with another implementation. Undefined when the key names nothing.
 */
export async function readBack(bench: Bench, key: string): Promise<Uint8Array | undefined> {
  const object = await findLiveObject(bench.sql, bench.bucketId, key);
  if (object === undefined) return undefined;
  const rows = await bench.sql.query({
    text: `select e.object_offset, e.chunk_offset, e.length, c.id, c.state, c.length as chunk_length, c.shard_length,
        c.data_shards, c.parity_shards, c.content_hash
      from extents e join chunks c on c.id = e.chunk_id where e.object_id = $1 order by e.object_offset`,
    values: [object.id],
  });
  const bytes = new Uint8Array(object.size);
  let at = 0;
  for (const row of rows) {
    if (row["state"] !== "live") throw new Error(`${key}: a chunk is ${String(row["state"])}`);
    if (Number(row["object_offset"]) !== at) throw new Error(`${key}: gap at ${at}`);
    const chunk = await readChunk(bench, row);
    bytes.set(chunk.subarray(row["chunk_offset"] as number).subarray(0, row["length"] as number), at);
    at += row["length"] as number;
  }
  if (at !== object.size) throw new Error(`${key}: extents cover ${at} of ${object.size} bytes`);
  if (toHex(blake3(bytes)) !== toHex(object.contentHash)) throw new Error(`${key}: wrong content hash`);
  return bytes;
}

/** Bytes of a live chunk, from its rows, checked against its hash. */
export async function readChunkById(bench: Bench, chunkId: string): Promise<Uint8Array> {
  const text = "select *, length as chunk_length from chunks where id = $1";
  return readChunk(bench, (await bench.sql.query({ text, values: [chunkId] }))[0] as SqlRow);
}

async function readChunk(bench: Bench, chunk: SqlRow): Promise<Uint8Array> {
  const geometry = { k: chunk["data_shards"] as number, m: chunk["parity_shards"] as number };
  const shards = await bench.sql.query({
    text: `select shard_index, node_id, hash, stored, chunk_id || '/' || shard_index || '.' || generation as key
      from shards where chunk_id = $1`,
    values: [chunk["id"] as string],
  });
  const present = new Map<number, Uint8Array>();
  for (const shard of shards.filter(({ stored }) => stored)) {
    const index = shard["shard_index"] as number;
    const store = bench.stores[bench.nodeIds.indexOf(shard["node_id"] as string)] as MemoryShardStore;
    const bytes = store.shards.get(shard["key"] as string);
    if (bytes === undefined || bytes.length !== chunk["shard_length"])
      throw new Error(`${String(shard["key"])} is not there`);
    if (toHex(blake3(bytes)) !== toHex(shard["hash"] as Uint8Array)) throw new Error("wrong shard hash");
    present.set(index, bytes);
  }
  const missing = Array.from({ length: geometry.k }, (_, i) => i).filter((i) => !present.has(i));
  for (const [index, bytes] of kernels.rs.reconstructBytes(geometry, present, missing))
    present.set(index, bytes);
  const data = new Uint8Array(geometry.k * (chunk["shard_length"] as number));
  for (let i = 0; i < geometry.k; i++)
    data.set(present.get(i) as Uint8Array, i * (chunk["shard_length"] as number));
  const bytes = data.subarray(0, chunk["chunk_length"] as number);
  if (data.subarray(bytes.length).some((byte) => byte !== 0))
    throw new Error("a chunk does not end in zeros");
  if (toHex(blake3(bytes)) !== toHex(chunk["content_hash"] as Uint8Array))
    throw new Error("wrong chunk hash");
  return bytes;
}

/** Keys on all nodes that no shard of a chunk in one of these states has. */
export async function orphans(bench: Bench, states: readonly string[] = ["live"]): Promise<string[]> {
  const rows = await bench.sql.query({
    text: `select s.chunk_id || '/' || s.shard_index || '.' || s.generation as key, s.node_id::text
      from shards s join chunks c on c.id = s.chunk_id where c.state = any($1)`,
    values: [[...states]],
  });
  const known = new Set(rows.map((row) => `${row["node_id"] as string} ${row["key"] as string}`));
  return bench.stores.flatMap((store, i) =>
    [...store.shards.keys()].filter((key) => !known.has(`${bench.nodeIds[i]} ${key}`)),
  );
}

/** Runs garbage collection until every lease and grace that runs now is over and nothing is left to do. */
export async function collectAll(bench: Bench): Promise<void> {
  for (let round = 0; round < 4; round++) {
    bench.clock.time += 50 * HOUR;
    for (let more = true; more;) {
      const report = await collectGarbage(bench.deps(), { now: bench.clock.time, graceMs: GRACE });
      if (report.failedNodes.length > 0) throw new Error(`failed nodes: ${report.failedNodes.join()}`);
      more = report.hasMore;
    }
  }
}

/** After `collectAll`: nodes hold the shards of live chunks and nothing else, and no row is left over. */
export async function expectNoOrphans(bench: Bench): Promise<void> {
  expect(await orphans(bench)).toEqual([]);
  const [counts] = await bench.sql.query({
    text: `select
      (select count(*) from chunks where state <> 'live') as chunks,
      (select count(*) from chunks c where not exists (select from extents where chunk_id = c.id)) as unreferenced,
      (select count(*) from loose_chunks) as loose,
      (select count(*) from objects where state <> 'live') as objects,
      (select count(*) from upload_sessions where state <> 'completed') as uploads`,
    values: [],
  });
  expect(counts).toEqual({ chunks: 0n, unreferenced: 0n, loose: 0n, objects: 0n, uploads: 0n });
}
