import { path, type Gateway } from "./http.ts";
import { all, pages } from "./pages.ts";

export interface StoredObject {
  readonly bucket: string;
  readonly key: string;
  readonly size: number;
  readonly content_hash: string;
  /** Null for an object of several parts until its bytes were read again. */
  readonly sha256: string | null;
  readonly created_at: string;
}

/** Geometry of a bucket; what is left out takes the gateway's defaults. */
export interface BucketOptions {
  readonly chunkBytes?: number;
  readonly dataShards?: number;
  readonly parityShards?: number;
}

interface Bucket {
  readonly name: string;
  readonly chunk_bytes: number;
  readonly data_shards: number;
  readonly parity_shards: number;
}

/** Stored objects and their buckets. */
export class Objects {
  readonly #gateway: Gateway;

  constructor(gateway: Gateway) {
    this.#gateway = gateway;
  }

  /** Creates the bucket, or confirms that it exists with the geometry asked for. */
  async ensureBucket(bucket: string, options: BucketOptions = {}): Promise<void> {
    await this.#gateway.call("PUT", path("api", "buckets", bucket), {
      json: {
        ...(options.chunkBytes === undefined ? {} : { chunk_bytes: options.chunkBytes }),
        ...(options.dataShards === undefined ? {} : { data_shards: options.dataShards }),
        ...(options.parityShards === undefined ? {} : { parity_shards: options.parityShards }),
      },
    });
  }

  /** All buckets of the user, by name. */
  buckets(): Promise<readonly Bucket[]> {
    return all(pages(this.#gateway, "/api/buckets", "buckets"));
  }

  /** Objects whose key begins with `prefix`, in byte order of their keys. */
  list(bucket: string, prefix = ""): AsyncGenerator<StoredObject> {
    return pages(this.#gateway, "/api/objects", "objects", { bucket, prefix, limit: 1000 });
  }

  /** The object's bytes, verified by the gateway as they are read. */
  get(
    bucket: string,
    key: string,
    options: { range?: { offset: number; length: number }; signal?: AbortSignal } = {},
  ): Promise<Response> {
    const range = options.range;
    return this.#gateway.call("GET", objectPath(bucket, key), {
      headers:
        range === undefined ? {} : { range: `bytes=${range.offset}-${range.offset + range.length - 1}` },
      signal: options.signal,
    });
  }

  /** Deleting what does not exist succeeds. Datasets keep the bytes that they use. */
  async delete(bucket: string, keys: readonly string[]): Promise<number> {
    let deleted = 0;
    for (let start = 0; start < keys.length; start += 1000) {
      const answer = await this.#gateway.json<{ deleted: number }>("POST", "/api/objects/delete", {
        json: { bucket, keys: keys.slice(start, start + 1000) },
        idempotent: true,
      });
      deleted += answer.deleted;
    }
    return deleted;
  }
}

/** Keys keep their slashes in the URL; each segment is percent-encoded. */
function objectPath(bucket: string, key: string): string {
  return `${path("api", "objects", bucket)}/${key.split("/").map(encodeURIComponent).join("/")}`;
}
