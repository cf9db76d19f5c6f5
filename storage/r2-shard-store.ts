import { DataStreamError } from "../core/errors.ts";
import { R2_DELETE_MAX_KEYS } from "../core/limits.ts";
import type { PutOutcome, ShardStore } from "../core/ports.ts";
import { readBody } from "./response-body.ts";

/** One R2 bucket as a storage node. */
export class R2ShardStore implements ShardStore {
  readonly #bucket: R2Bucket;
  readonly #name: string;

  /** @param name of the node, for errors. */
  constructor(bucket: R2Bucket, name: string) {
    this.#bucket = bucket;
    this.#name = name;
  }

  put(key: string, bytes: Uint8Array): Promise<PutOutcome> {
    return this.#guarded("put", async () => {
      const stored = await this.#bucket.put(key, bytes, { onlyIf: { etagDoesNotMatch: "*" } });
      // A failed precondition answers null and does not throw.
      return stored === null ? "exists" : "created";
    });
  }

  read(
    key: string,
    offset: number,
    length: number,
    into: Uint8Array<ArrayBuffer>,
  ): Promise<Uint8Array<ArrayBuffer> | undefined> {
    return this.#guarded("read", async () => {
      const object = await this.#getRange(key, offset, length);
      if (object === null) return undefined;
      return await readBody(object.body as ReadableStream<Uint8Array>, length, into);
    });
  }

  size(key: string): Promise<number | undefined> {
    return this.#guarded("head", async () => (await this.#bucket.head(key))?.size);
  }

  delete(keys: readonly string[]): Promise<void> {
    return this.#guarded("delete", async () => {
      for (let first = 0; first < keys.length; first += R2_DELETE_MAX_KEYS) {
        await this.#bucket.delete(keys.slice(first, first + R2_DELETE_MAX_KEYS));
      }
    });
  }

  list(prefix: string, startAfter?: string): Promise<readonly string[]> {
    return this.#guarded("list", async () => {
      const options = { prefix, limit: 1_000, ...(startAfter !== undefined && { startAfter }) };
      return (await this.#bucket.list(options)).objects.map(({ key }) => key);
    });
  }

  /**
   * A range that starts behind the end of the object is an error to R2 (10039; an unspecified one in the local
   * simulator), to the caller a shard that is too short: the object's size tells it from a failing node.
   */
  async #getRange(key: string, offset: number, length: number): Promise<R2ObjectBody | null> {
    try {
      return await this.#bucket.get(key, { range: { offset, length } });
    } catch (thrown) {
      const object = await this.#bucket.head(key);
      if (object === null || object.size < offset + length) return null;
      throw thrown;
    }
  }

  async #guarded<T>(call: string, task: () => Promise<T>): Promise<T> {
    try {
      return await task();
    } catch (thrown) {
      throw new DataStreamError("unavailable", `Storage node ${this.#name} failed a ${call}. Try again.`, {
        details: { node: this.#name },
        cause: thrown,
      });
    }
  }
}
