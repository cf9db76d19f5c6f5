import {
  broken,
  FLAG_COMPRESSED,
  FLAG_END,
  HEADER_BYTES,
  MESSAGE_MAX_BYTES,
  parseEnd,
  type StreamEnd,
} from "../../client/stream/frames.ts";
import { DataStreamError } from "../../core/errors.ts";
import { HTTP_PROBLEM_MAX_BYTES, RECEIVE_AHEAD_BYTES } from "../../core/limits.ts";
import type { BatchResponse } from "../../proto/index.ts";
import type { BodySink } from "./exchange.ts";
import type { MessagePool, PooledBuffer } from "./message-pool.ts";
import { adoptMessage, messageBuffer, releaseMessage } from "./messages.ts";

/** What a receiver asks of the connection. */
export interface Flow {
  /** The receiver can take bytes again. */
  resume(): void;
  close(): void;
}

type Next = IteratorResult<BatchResponse, StreamEnd>;

/**
 * Cuts a body into the messages of Connect's streaming envelopes, each in a buffer of the pool. It takes
 * nothing while the pool has no room, or when enough messages wait for their reader.
 */
export class BatchReceiver implements BodySink {
  readonly #pool: MessagePool;
  readonly #flow: Flow;
  readonly #header = new Uint8Array(HEADER_BYTES);
  readonly #ready: BatchResponse[] = [];
  #readyBytes = 0;
  /** Where the bytes of the envelope go, and how many of them are there. */
  #target: Uint8Array = this.#header;
  #filled = 0;
  #pooled: PooledBuffer | undefined;
  #isAsking = false;
  /** Ends a wait for memory that nobody needs any more. */
  readonly #leave = new AbortController();
  #end: StreamEnd | undefined;
  #error: DataStreamError | undefined;
  #closed = false;
  #wake: (() => void) | undefined;

  constructor(pool: MessagePool, flow: Flow) {
    this.#pool = pool;
    this.#flow = flow;
  }

  take(bytes: Uint8Array): number {
    let at = 0;
    while (at < bytes.byteLength && !this.#closed && this.#end === undefined) {
      if (this.#isAsking || this.#readyBytes >= RECEIVE_AHEAD_BYTES) return at;
      const part = bytes.subarray(at, at + this.#target.byteLength - this.#filled);
      this.#target.set(part, this.#filled);
      this.#filled += part.byteLength;
      at += part.byteLength;
      this.#advance();
    }
    return bytes.byteLength;
  }

  window(): Uint8Array | undefined {
    return this.#pooled === undefined ? undefined : this.#target.subarray(this.#filled);
  }

  wrote(count: number): void {
    this.#filled += count;
    this.#advance();
  }

  end(): void {
    if (this.#end === undefined)
      this.fail(new DataStreamError("unavailable", "The connection ended before the stream did."));
  }

  fail(error: DataStreamError): void {
    this.#error ??= error;
    this.#leave.abort();
    this.#pooled?.release();
    this.#wake?.();
  }

  /** The next message; those that came before an error are given first. */
  async next(): Promise<Next> {
    for (;;) {
      const message = this.#ready.shift();
      if (message !== undefined) {
        const wasFull = this.#readyBytes >= RECEIVE_AHEAD_BYTES;
        this.#readyBytes -= messageBuffer(message).bytes.byteLength;
        if (wasFull && this.#readyBytes < RECEIVE_AHEAD_BYTES) this.#flow.resume();
        return { done: false, value: message };
      }
      if (this.#end !== undefined) return { done: true, value: this.#end };
      if (this.#error !== undefined) throw this.#error;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  /** Ends the connection and gives back what nobody took. */
  close(): void {
    this.#closed = true;
    this.#leave.abort();
    this.#flow.close();
    this.#pooled?.release();
    for (const message of this.#ready.splice(0)) releaseMessage(message);
  }

  /** Acts on whatever became complete; an empty message is complete with its header. */
  #advance(): void {
    if (this.#target === this.#header && this.#filled === HEADER_BYTES) this.#begin();
    if (this.#target !== this.#header && this.#filled === this.#target.byteLength) this.#complete();
  }

  #begin(): void {
    const flags = this.#header[0] as number;
    const length = new DataView(this.#header.buffer).getUint32(1);
    if ((flags & FLAG_COMPRESSED) !== 0) throw broken("a compressed message although none was negotiated");
    if ((flags & ~FLAG_END) !== 0) throw broken(`the unknown flags ${flags}`);
    const limit = flags === FLAG_END ? HTTP_PROBLEM_MAX_BYTES : MESSAGE_MAX_BYTES;
    if (length > limit) throw broken(`a message of ${length} bytes; ${limit} is the most`);
    if (flags === FLAG_END) {
      this.#fill(new Uint8Array(length));
      return;
    }
    const pooled = this.#pool.tryAcquire(length);
    if (pooled === undefined) void this.#ask(length);
    else this.#fillPooled(pooled, length);
  }

  async #ask(length: number): Promise<void> {
    this.#isAsking = true;
    const pooled = await this.#pool.acquire(length, this.#leave.signal).catch(() => undefined);
    this.#isAsking = false;
    if (pooled === undefined) return;
    this.#fillPooled(pooled, length);
    if (length === 0) this.#complete();
    this.#flow.resume();
  }

  #fillPooled(pooled: PooledBuffer, length: number): void {
    this.#pooled = pooled;
    this.#fill(new Uint8Array(pooled.buffer, 0, length));
  }

  #fill(target: Uint8Array): void {
    this.#target = target;
    this.#filled = 0;
  }

  #complete(): void {
    const [pooled, { byteLength }] = [this.#pooled, this.#target];
    this.#pooled = undefined;
    if (pooled === undefined) {
      this.#end = parseEnd(this.#target);
    } else {
      const message = adoptMessage(pooled, byteLength);
      this.#ready.push(message);
      this.#readyBytes += byteLength;
    }
    this.#fill(this.#header);
    this.#wake?.();
  }
}
