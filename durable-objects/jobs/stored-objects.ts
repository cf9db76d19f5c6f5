/** Internal objects and dataset files as the storage of the service holds them. */
import { ensureBucket, findBucket } from "../../catalog/buckets.ts";
import type { ChunkCache } from "../../catalog/chunk-cache.ts";
import { locateItems, locateObject } from "../../catalog/locate.ts";
import { dropObjects, findLiveObject } from "../../catalog/objects.ts";
import type { LocatedItem } from "../../core/erasure/location.ts";
import { DataStreamError } from "../../core/errors.ts";
import { ITEM_MAX_BYTES, MANIFEST_CHUNK_BYTES, PART_DEFAULT_BYTES } from "../../core/limits.ts";
import type { Sql } from "../../core/ports.ts";
import { openItemWindow, type ReadDeps } from "../../storage/item-window.ts";
import { readObject } from "../../storage/object-reader.ts";
import { completeUpload } from "../../storage/uploads/complete.ts";
import type { UploadDeps } from "../../storage/uploads/deps.ts";
import { putObject } from "../../storage/uploads/put-object.ts";
import { putPart } from "../../storage/uploads/put-part.ts";
import { abortUpload, createUpload } from "../../storage/uploads/sessions.ts";
import {
  INTERNAL_BUCKET,
  type InternalObject,
  type InternalObjects,
  type InternalPart,
} from "./internal-objects.ts";

/** Of one invocation: its connections are counted. */
export interface StoredObjectsDeps {
  readonly sql: Sql;
  readonly chunks: ChunkCache;
  readonly reads: ReadDeps;
  readonly uploads: UploadDeps;
  /** Default `PART_DEFAULT_BYTES`; a power of two of at least one manifest page. */
  readonly partBytes?: number;
}

const GEOMETRY = { chunkBytes: MANIFEST_CHUNK_BYTES, dataShards: 4, parityShards: 2 };
/** Read buffers of a verification, beside the item that it reads. */
const READ_AHEAD_BYTES = 8 * 1024 * 1024;

export class StoredObjects implements InternalObjects {
  readonly #deps: StoredObjectsDeps;

  constructor(deps: StoredObjectsDeps) {
    this.#deps = deps;
  }

  async begin(
    ownerId: string,
    key: string,
  ): Promise<{ readonly uploadId: string; readonly partBytes: number }> {
    const { uploads, partBytes = PART_DEFAULT_BYTES } = this.#deps;
    const bucketId = await this.#bucket(ownerId);
    const { id } = await createUpload(uploads, { bucketId, kind: "object", key, partBytes });
    return { uploadId: id, partBytes };
  }

  async putPart({ ownerId, uploadId, partNumber, bytes, length }: InternalPart): Promise<void> {
    const body = toStream(bytes);
    await putPart(this.#deps.uploads, { uploadId, ownerId, partNumber, body, declaredLength: length });
  }

  async complete(ownerId: string, uploadId: string, parts: number): Promise<InternalObject> {
    const { object } = await completeUpload(this.#deps.uploads, { uploadId, ownerId, parts });
    const found = object && (await findLiveObject(this.#deps.sql, await this.#bucket(ownerId), object.key));
    if (!found) throw new DataStreamError("internal", "The manifest was stored and cannot be found.");
    return { objectId: found.id, contentHash: found.contentHash, size: found.size };
  }

  async put(ownerId: string, key: string, bytes: Uint8Array): Promise<InternalObject> {
    return putObject(this.#deps.uploads, { bucketId: await this.#bucket(ownerId), key, bytes });
  }

  async discard(ownerId: string, uploadId: string | undefined, keys: readonly string[]): Promise<void> {
    if (uploadId !== undefined) await this.#abort(uploadId, ownerId);
    const bucket = await findBucket(this.#deps.sql, ownerId, INTERNAL_BUCKET);
    if (bucket !== undefined) await dropObjects(this.#deps.sql, bucket.id, keys);
  }

  async *read(
    objectId: string,
    range?: { readonly offset: number; readonly length: number },
  ): AsyncGenerator<Uint8Array> {
    const { sql, chunks, reads } = this.#deps;
    const object = await locateObject(sql, objectId, chunks);
    if (object === undefined)
      throw new DataStreamError("internal", "An object of the dataset is not in the catalog.");
    if (range !== undefined && range.offset + range.length > object.size)
      throw new DataStreamError("data_loss", "An object of the dataset is shorter than the dataset says.");
    const reader = readObject(reads, object, range).getReader();
    try {
      for (let next = await reader.read(); !next.done; next = await reader.read()) yield next.value;
    } finally {
      await reader.cancel().catch(() => undefined);
    }
  }

  /** Completed uploads stay completed: their object is dropped by its key. */
  async #abort(uploadId: string, ownerId: string): Promise<void> {
    try {
      await abortUpload(this.#deps.uploads, uploadId, ownerId);
    } catch (error) {
      const { code } = DataStreamError.from(error);
      if (code !== "failed_precondition" && code !== "not_found") throw error;
    }
  }

  async #bucket(ownerId: string): Promise<string> {
    const { bucket } = await ensureBucket(this.#deps.sql, { ownerId, name: INTERNAL_BUCKET, ...GEOMETRY });
    return bucket.id;
  }
}

/**
 * Reads every byte of the files `from` to `from + count − 1` of a dataset.
 * @returns the indices of those that cannot be had as they were recorded.
 * @throws what else keeps bytes from being read, `unavailable` above all.
 */
export async function findUnreadable(
  deps: Pick<StoredObjectsDeps, "sql" | "chunks" | "reads">,
  datasetId: string,
  from: number,
  count: number,
): Promise<number[]> {
  const { sql, chunks, reads } = deps;
  const { authorized, items } = await locateItems(sql, { datasetId }, { from, count }, chunks);
  if (!authorized) throw new DataStreamError("not_found", "The dataset was deleted while it was read.");
  const lost = items.filter((item) => !isPlaced(item)).map(({ index }) => index);
  const placed = items.filter(isPlaced);
  for (let next = 0; next < placed.length;) {
    const item = placed[next] as LocatedItem;
    if (item.size > ITEM_MAX_BYTES) {
      if (!(await isReadable(reads, item))) lost.push(item.index);
      next++;
      continue;
    }
    const end = placed.findIndex(({ size }, i) => i > next && size > ITEM_MAX_BYTES);
    const run = placed.slice(next, end < 0 ? undefined : end);
    const read = await readRun(reads, run);
    next += read;
    if (read === run.length) continue;
    lost.push((run[read] as LocatedItem).index);
    next++;
  }
  return lost;
}

/** A catalog that lost rows must not look like an empty file. */
function isPlaced({ size, extents }: LocatedItem): boolean {
  return extents.reduce((sum, { length }) => sum + length, 0) === size;
}

/** How many items from the first on could be read before one that could not. */
async function readRun(reads: ReadDeps, items: readonly LocatedItem[]): Promise<number> {
  const bytes = Math.max(...items.map(({ size }) => size));
  const lease = await reads.budget.acquire(bytes);
  const { signal } = new AbortController();
  const window = openItemWindow(reads, items, { signal, readAheadBytes: READ_AHEAD_BYTES });
  try {
    const buffer = new Uint8Array(bytes);
    for (let i = 0; i < items.length; i++) {
      try {
        await window.fill(i, [buffer.subarray(0, (items[i] as LocatedItem).size)]);
      } catch (error) {
        if (isLoss(error)) return i;
        throw error;
      }
    }
    return items.length;
  } finally {
    window.close();
    lease.release();
  }
}

async function isReadable(reads: ReadDeps, item: LocatedItem): Promise<boolean> {
  const reader = readObject(reads, item).getReader();
  try {
    while (!(await reader.read()).done);
    return true;
  } catch (error) {
    if (isLoss(error)) return false;
    throw error;
  }
}

function isLoss(error: unknown): boolean {
  return error instanceof DataStreamError && error.code === "data_loss";
}

/** Nothing is read before it is asked for. */
export function toStream(bytes: AsyncIterable<Uint8Array>): ReadableStream<Uint8Array> {
  const iterator = bytes[Symbol.asyncIterator]();
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        const { done, value } = await iterator.next();
        if (done === true) controller.close();
        else controller.enqueue(value);
      },
      async cancel() {
        await iterator.return?.();
      },
    },
    { highWaterMark: 0 },
  );
}
