import { DataStreamError } from "../core/errors.ts";
import type { PutOutcome, ShardStore } from "../core/ports.ts";
import { readBody } from "./response-body.ts";

/** A node that never answers must not hold a connection for ever. */
const TIMEOUT_MS = 30_000;

/**
 * A plain HTTP server as a storage node: GET with Range, PUT with If-None-Match, HEAD, DELETE under one
 * base URL. It cannot list, so garbage collection relies on the catalog's rows alone. NOT guaranteed:
 * create-only writes on a server that ignores If-None-Match; it must answer 412.
 */
export class HttpShardStore implements ShardStore {
  readonly #baseUrl: string;
  readonly #name: string;

  /** @param name of the node, for errors: its URL may hold what no caller should see. */
  constructor(baseUrl: string, name: string) {
    this.#baseUrl = baseUrl.endsWith("/") ? baseUrl : `${baseUrl}/`;
    this.#name = name;
  }

  async put(key: string, bytes: Uint8Array): Promise<PutOutcome> {
    const response = await this.#request(key, {
      method: "PUT",
      headers: { "if-none-match": "*", "content-type": "application/octet-stream" },
      body: bytes as Uint8Array<ArrayBuffer>,
    });
    await discard(response);
    if (response.status === 412) return "exists";
    if (!response.ok) throw this.#failure("PUT", response.status);
    return "created";
  }

  async read(
    key: string,
    offset: number,
    length: number,
    into: Uint8Array<ArrayBuffer>,
  ): Promise<Uint8Array<ArrayBuffer> | undefined> {
    const range = `bytes=${offset}-${offset + length - 1}`;
    const response = await this.#request(key, { headers: { range } });
    if (!holdsRange(response, offset, length)) {
      await discard(response);
      if (response.status === 404 || response.status === 416) return undefined;
      throw this.#failure("ranged GET", response.status);
    }
    try {
      return await readBody(response.body as ReadableStream<Uint8Array>, length, into);
    } catch (thrown) {
      throw this.#failure("ranged GET", undefined, thrown);
    }
  }

  async size(key: string): Promise<number | undefined> {
    const response = await this.#request(key, { method: "HEAD" });
    await discard(response);
    if (response.status === 404) return undefined;
    const size = response.headers.get("content-length");
    if (!response.ok || size === null) throw this.#failure("HEAD", response.status);
    return Number(size);
  }

  async delete(keys: readonly string[]): Promise<void> {
    for (const key of keys) {
      const response = await this.#request(key, { method: "DELETE" });
      await discard(response);
      if (!response.ok && response.status !== 404) throw this.#failure("DELETE", response.status);
    }
  }

  list(): Promise<readonly string[]> {
    const message = `Storage node ${this.#name} is a plain HTTP server, which cannot list its shards.`;
    return Promise.reject(
      new DataStreamError("failed_precondition", message, { details: { node: this.#name } }),
    );
  }

  async #request(key: string, init: RequestInit): Promise<Response> {
    try {
      return await fetch(this.#baseUrl + key, { ...init, signal: AbortSignal.timeout(TIMEOUT_MS) });
    } catch (thrown) {
      throw this.#failure(init.method ?? "GET", undefined, thrown);
    }
  }

  #failure(call: string, status: number | undefined, cause?: unknown): DataStreamError {
    const outcome = status === undefined ? "failed" : `answered ${status} to`;
    return new DataStreamError("unavailable", `Storage node ${this.#name} ${outcome} a ${call}. Try again.`, {
      details: { node: this.#name, ...(status !== undefined && { status }) },
      cause,
    });
  }
}

/** Of a range that is the whole shard some servers send all of it, as RFC 9110 allows; of another that is an error. */
function holdsRange(response: Response, offset: number, length: number): boolean {
  if (response.status === 206) return response.body !== null;
  const isWhole = offset === 0 && response.headers.get("content-length") === String(length);
  return response.status === 200 && isWhole && response.body !== null;
}

/** Frees the connection of an answer whose body nobody wants. */
async function discard(response: Response): Promise<void> {
  await response.body?.cancel();
}
