/** Writes what a cluster holds into the catalog, as uploads and a dataset job would. */
import { randomUUID } from "node:crypto";
import { byteaArray, statement } from "../../catalog/sql.ts";
import type { ChunkLocation, LocatedObject } from "../../core/erasure/location.ts";
import type { Sql } from "../../core/ports.ts";
import type { Cluster } from "./cluster.ts";

export interface Seeded {
  readonly userId: string;
  readonly bucketId: string;
}

/** A user, a bucket and the cluster's nodes. */
export async function seedCatalog(sql: Sql, cluster: Cluster): Promise<Seeded> {
  const [userId, bucketId] = [randomUUID(), randomUUID()];
  const nodes = [...cluster.nodes.values()];
  await sql.transaction([
    statement`INSERT INTO users (id, name, role) VALUES (${userId}, 'ada', 'owner')`,
    statement`INSERT INTO buckets (id, owner_id, name, chunk_bytes, data_shards, parity_shards)
      VALUES (${bucketId}, ${userId}, 'digits', 16384, 4, 2)`,
    statement`INSERT INTO storage_nodes (id, name, kind, address)
      SELECT id, name, 'r2', name FROM unnest(${nodes.map(({ id }) => id)}::uuid[], ${nodes.map(({ name }) => name)}::text[]) AS n (id, name)`,
  ]);
  return { userId, bucketId };
}

/** Live objects and their chunks; answers the ids of the objects. */
export async function storeObjects(
  sql: Sql,
  seeded: Seeded,
  objects: readonly LocatedObject[],
): Promise<string[]> {
  const chunks = new Map<string, ChunkLocation>();
  for (const { extents } of objects) for (const { chunk } of extents) chunks.set(chunk.id, chunk);
  const list = [...chunks.values()];
  const shards = list.flatMap((chunk) => chunk.shards.map((shard) => ({ ...shard, chunkId: chunk.id })));
  const ids = objects.map(() => randomUUID());
  const extents = objects.flatMap((object, i) =>
    object.extents.map((extent) => ({ ...extent, objectId: ids[i] as string })),
  );
  await sql.transaction([
    statement`INSERT INTO chunks (id, state, data_shards, parity_shards, length, shard_length, content_hash)
      SELECT id, 'live', k, m, length, shard_length, hash FROM unnest(${list.map(({ id }) => id)}::uuid[],
        ${list.map(({ dataShards }) => dataShards)}::int2[], ${list.map(({ parityShards }) => parityShards)}::int2[],
        ${list.map(({ length }) => length)}::int4[], ${list.map(({ shardLength }) => shardLength)}::int4[],
        ${byteaArray(list.map(({ contentHash }) => contentHash))}::bytea[]) AS c (id, k, m, length, shard_length, hash)`,
    statement`INSERT INTO shards (chunk_id, shard_index, generation, node_id, hash, stored)
      SELECT * FROM unnest(${shards.map(({ chunkId }) => chunkId)}::uuid[], ${shards.map(({ index }) => index)}::int2[],
        ${shards.map(({ generation }) => generation)}::int4[], ${shards.map(({ nodeId }) => nodeId)}::uuid[],
        ${byteaArray(shards.map(({ hash }) => hash))}::bytea[], ${shards.map(({ stored }) => stored)}::bool[])`,
    statement`INSERT INTO objects (id, bucket_id, key, state, size, content_hash)
      SELECT id, ${seeded.bucketId}, id::text, 'live', size, hash FROM unnest(${ids}::uuid[],
        ${objects.map(({ size }) => size)}::int8[], ${byteaArray(objects.map(({ contentHash }) => contentHash))}::bytea[]) AS o (id, size, hash)`,
    statement`INSERT INTO extents (object_id, object_offset, chunk_id, chunk_offset, length)
      SELECT * FROM unnest(${extents.map(({ objectId }) => objectId)}::uuid[], ${extents.map(({ objectOffset }) => objectOffset)}::int8[],
        ${extents.map(({ chunk }) => chunk.id)}::uuid[], ${extents.map(({ chunkOffset }) => chunkOffset)}::int4[],
        ${extents.map(({ length }) => length)}::int4[])`,
  ]);
  return ids;
}

/** A ready dataset over objects in this order; the first object stands in for its manifest. */
export async function createDataset(
  sql: Sql,
  seeded: Seeded,
  objectIds: readonly string[],
  objects: readonly LocatedObject[],
  state: "building" | "ready" = "ready",
): Promise<string> {
  const id = randomUUID();
  const hash = new Uint8Array(32);
  const manifest = objectIds[0] as string;
  await sql.transaction([
    statement`INSERT INTO datasets (id, owner_id, name, state, version, schema, schema_hash, content_hash, total_size_bytes,
        file_count, max_item_bytes, manifest_object_id, tree_object_id)
      VALUES (${id}, ${seeded.userId}, ${`d-${id}`}, ${state}, 1, '{}', ${hash}, ${hash}, 0, ${objects.length}, 0, ${manifest}, ${manifest})`,
    statement`INSERT INTO dataset_files (dataset_id, file_index, object_id, path_in_dataset, content_hash, size_bytes)
      SELECT ${id}, n - 1, object_id, 'file-' || n, hash, size FROM unnest(${[...objectIds]}::uuid[],
        ${byteaArray(objects.map(({ contentHash }) => contentHash))}::bytea[], ${objects.map(({ size }) => size)}::int8[])
        WITH ORDINALITY AS f (object_id, hash, size, n)`,
  ]);
  return id;
}

export async function createToken(
  sql: Sql,
  seeded: Seeded,
  datasetId: string,
  state: "valid" | "expired" | "revoked" = "valid",
): Promise<string> {
  const id = randomUUID();
  const hash = new Uint8Array(32);
  crypto.getRandomValues(hash);
  await sql.query(statement`
    INSERT INTO data_access_tokens (id, dataset_id, issued_by, token_hash, scopes, created_at, expires_at, revoked_at)
    VALUES (${id}, ${datasetId}, ${seeded.userId}, ${hash}, '{read,stream}', now() - interval '2 hours',
      now() + ${state === "expired" ? -1 : 1}::integer * interval '1 hour', ${state === "revoked" ? new Date().toISOString() : null}::timestamptz)`);
  return id;
}
