/** Where the bytes of files and objects lie. One query for items, one more for chunks that nobody looked up lately. */
import type {
  ChunkLocation,
  Extent,
  LocatedItem,
  LocatedObject,
  ShardLocation,
} from "../core/erasure/location.ts";
import type { TrustLevel } from "../core/dataset/trust.ts";
import { DataStreamError } from "../core/errors.ts";
import type { Sql } from "../core/ports.ts";
import type { ChunkCache } from "./chunk-cache.ts";
import { PackedRows } from "./packed-rows.ts";

export interface ItemAccess {
  readonly datasetId: string;
  /** Checked in the same query; without one only the dataset is. */
  readonly tokenId?: string;
  /** With a token: the highest level at which its issuer's trust in the dataset may stand now; any, unless given. */
  readonly maxTrustLevel?: TrustLevel;
}

/** Ascending file indices without gaps, or any list of them. */
export type ItemSelection = readonly number[] | { readonly from: number; readonly count: number };

export interface LocatedItems {
  /** The dataset is ready and trusted enough, and the token still opens it: see token_holds. */
  readonly authorized: boolean;
  /** As asked for, repetitions included; empty when not authorized. */
  readonly items: LocatedItem[];
}

const AUTHORIZED = `SELECT EXISTS (SELECT 1 FROM datasets d WHERE d.id = $1 AND d.state = 'ready')
  AND ($2::uuid IS NULL OR EXISTS (SELECT 1 FROM data_access_tokens t
    WHERE t.id = $2 AND token_holds(t.id, $1)
      AND ($3::integer IS NULL OR dataset_trust($1, t.issued_by) <= $3)))`;

const NO_CHUNK = "00000000-0000-0000-0000-000000000000";

/** One row for each extent, or one of length 0 for a file without bytes. */
const ITEM_ROW = `int8send(f.position) || int8send(f.file_index) || int8send(f.size_bytes) || f.content_hash
  || uuid_send(coalesce(e.chunk_id, '${NO_CHUNK}')) || int4send(coalesce(e.chunk_offset, 0))
  || int8send(coalesce(e.object_offset, 0)) || int4send(coalesce(e.length, 0))`;

const itemQuery = (selected: string): string => `
WITH access AS MATERIALIZED (${AUTHORIZED} AS granted)
SELECT (SELECT granted FROM access) AS authorized, string_agg(row, ''::bytea ORDER BY position, object_offset) AS rows
FROM (SELECT f.position, e.object_offset, ${ITEM_ROW} AS row
  FROM (${selected}) AS f LEFT JOIN extents e ON e.object_id = f.object_id
  WHERE (SELECT granted FROM access)) AS packed`;

const ITEMS_IN_RANGE =
  itemQuery(`SELECT file_index AS position, file_index, object_id, size_bytes, content_hash
  FROM dataset_files WHERE dataset_id = $1 AND file_index >= $4 AND file_index < $5`);
const ITEMS_LISTED = itemQuery(`SELECT asked.position, d.file_index, d.object_id, d.size_bytes, d.content_hash
  FROM unnest($4::int8[]) WITH ORDINALITY AS asked (file_index, position)
  JOIN dataset_files d ON d.dataset_id = $1 AND d.file_index = asked.file_index`);

/**
 * Finds items for a window of a stream; flat cost for each.
 * @throws `internal` when the dataset has no such index: callers take indices from its file count.
 */
export async function locateItems(
  sql: Sql,
  access: ItemAccess,
  selection: ItemSelection,
  chunks: ChunkCache,
): Promise<LocatedItems> {
  const listed = "from" in selection ? undefined : selection;
  const from = "from" in selection ? selection.from : 0;
  const count = "from" in selection ? selection.count : selection.length;
  const [answer] = await sql.query({
    text: listed === undefined ? ITEMS_IN_RANGE : ITEMS_LISTED,
    values: [
      access.datasetId,
      access.tokenId ?? null,
      access.maxTrustLevel ?? null,
      ...(listed === undefined ? [from, from + count] : [listed]),
    ],
  });
  if (answer === undefined || answer["authorized"] !== true) return { authorized: false, items: [] };

  const rows = (answer["rows"] as Uint8Array | null) ?? new Uint8Array();
  const items = await decodeItems(sql, rows, chunks);
  if (items.length !== count) {
    throw new DataStreamError(
      "internal",
      `${count - items.length} of ${count} items are not in the dataset.`,
    );
  }
  return { authorized: true, items };
}

/** The layout of one object; undefined when there is no such object, or none whose content is known. */
export async function locateObject(
  sql: Sql,
  objectId: string,
  chunks: ChunkCache,
): Promise<LocatedObject | undefined> {
  const [answer] = await sql.query({
    text: `SELECT string_agg(${ITEM_ROW}, ''::bytea ORDER BY e.object_offset) AS rows
      FROM (SELECT 0::int8 AS position, 0::int8 AS file_index, id AS object_id, size AS size_bytes, content_hash
        FROM objects WHERE id = $1 AND content_hash IS NOT NULL) AS f
      LEFT JOIN extents e ON e.object_id = f.object_id`,
    values: [objectId],
  });
  const rows = answer?.["rows"] as Uint8Array | null | undefined;
  if (rows === null || rows === undefined) return undefined;
  return (await decodeItems(sql, rows, chunks))[0];
}

/** Looks a chunk up again, past the cache; undefined when it is gone. */
export async function refreshChunk(
  sql: Sql,
  chunkId: string,
  chunks: ChunkCache,
): Promise<ChunkLocation | undefined> {
  chunks.delete(chunkId);
  return (await findChunks(sql, [chunkId], chunks)).get(chunkId);
}

/** Chunks by id, from the cache where it has them. Ids that do not exist, or are still being written, are absent. */
export async function findChunks(
  sql: Sql,
  chunkIds: Iterable<string>,
  cache: ChunkCache,
): Promise<ReadonlyMap<string, ChunkLocation>> {
  const found = new Map<string, ChunkLocation>();
  const unknown: string[] = [];
  for (const id of new Set(chunkIds)) {
    const chunk = cache.get(id);
    if (chunk === undefined) unknown.push(id);
    else found.set(id, chunk);
  }
  if (unknown.length === 0) return found;
  for (const chunk of await loadChunks(sql, unknown)) {
    cache.put(chunk);
    found.set(chunk.id, chunk);
  }
  return found;
}

/** Chunks as the catalog has them now, by ascending id. */
export async function loadChunks(sql: Sql, chunkIds: readonly string[]): Promise<ChunkLocation[]> {
  if (chunkIds.length === 0) return [];
  const [answer] = await sql.query({ text: CHUNKS, values: [chunkIds] });
  return decodeChunks((answer?.["rows"] as Uint8Array | null) ?? new Uint8Array());
}

const NO_HASH = "decode(repeat('00', 32), 'hex')";
const CHUNKS = `SELECT string_agg(uuid_send(c.id) || int2send(c.data_shards) || int2send(c.parity_shards)
    || int4send(c.length) || int4send(c.shard_length) || c.content_hash || int2send(s.shard_index) || uuid_send(s.node_id)
    || int4send(s.generation) || coalesce(s.hash, ${NO_HASH}) || boolsend(s.stored), ''::bytea ORDER BY c.id, s.shard_index) AS rows
  FROM chunks c JOIN shards s ON s.chunk_id = c.id
  WHERE c.id = ANY ($1::uuid[]) AND c.content_hash IS NOT NULL`;

/** Bytes of one row of `ITEM_ROW`, and where its chunk is named. */
const ITEM_ROW_BYTES = 88;
const ITEM_ROW_CHUNK = 56;

/** Items with the chunks that their rows name; consecutive rows mostly name the same. */
async function decodeItems(sql: Sql, bytes: Uint8Array, cache: ChunkCache): Promise<LocatedItem[]> {
  const ids = new Set<string>();
  const names = new PackedRows(bytes);
  for (let at = ITEM_ROW_CHUNK; at < bytes.byteLength; at += ITEM_ROW_BYTES) ids.add(names.uuidAt(at));
  ids.delete(NO_CHUNK);
  const chunks = await findChunks(sql, ids, cache);

  const rows = new PackedRows(bytes);
  const items: LocatedItem[] = [];
  let extents: Extent[] = [];
  let itemPosition = -1;
  while (!rows.done) {
    const position = rows.int8();
    const index = rows.int8();
    const size = rows.int8();
    const contentHash = rows.bytes(32);
    if (position !== itemPosition) {
      extents = [];
      items.push({ index, size, contentHash, extents });
      itemPosition = position;
    }
    const chunkId = rows.uuid();
    const chunkOffset = rows.int4();
    const objectOffset = rows.int8();
    const length = rows.int4();
    if (length === 0) continue;
    const chunk = chunks.get(chunkId);
    if (chunk === undefined) throw new DataStreamError("internal", `Chunk ${chunkId} has no layout.`);
    extents.push({ chunk, chunkOffset, objectOffset, length });
  }
  return items;
}

function decodeChunks(bytes: Uint8Array): ChunkLocation[] {
  const rows = new PackedRows(bytes);
  const chunks: ChunkLocation[] = [];
  let shards: ShardLocation[] = [];
  let chunkId = "";
  while (!rows.done) {
    const id = rows.uuid();
    const dataShards = rows.int2();
    const parityShards = rows.int2();
    const length = rows.int4();
    const shardLength = rows.int4();
    // Copied: the cache would otherwise keep the whole answer for one hash.
    const contentHash = rows.bytes(32).slice();
    if (id !== chunkId) {
      shards = [];
      chunks.push({ id, dataShards, parityShards, length, shardLength, contentHash, shards });
      chunkId = id;
    }
    shards.push({
      index: rows.int2(),
      nodeId: rows.uuid(),
      generation: rows.int4(),
      hash: rows.bytes(32).slice(),
      stored: rows.boolean(),
    });
  }
  return chunks;
}
