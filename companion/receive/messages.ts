import { DataStreamError } from "../../core/errors.ts";
import type { BatchResponse } from "../../proto/index.ts";
import { readBatchMessage } from "./batch-message.ts";
import type { PooledBuffer } from "./message-pool.ts";

/** Where a message lies in shared memory. */
export interface MessageBuffer {
  readonly buffer: SharedArrayBuffer;
  /** The message as it came, serialised. */
  readonly bytes: Uint8Array<SharedArrayBuffer>;
  /** Where each item begins, from the start of the buffer; its length is that of the item's view. */
  readonly offsets: readonly number[];
}

interface Held {
  readonly pooled: PooledBuffer;
  readonly bytes: Uint8Array<SharedArrayBuffer>;
  lastUse?: () => Promise<void>;
}

const held = new WeakMap<BatchResponse, Held>();

/**
 * Reads the message in the first `byteLength` bytes of a pooled buffer, which belongs to the message from then on.
 * @throws DataStreamError `data_loss` when it is no batch; the buffer is released then.
 */
export function adoptMessage(pooled: PooledBuffer, byteLength: number): BatchResponse {
  const bytes = new Uint8Array(pooled.buffer, 0, byteLength);
  try {
    const message = readBatchMessage(bytes);
    held.set(message, { pooled, bytes });
    return message;
  } catch (error) {
    pooled.release();
    throw error;
  }
}

/**
 * The memory of a message that came from the companion's own sources and was not released.
 * @throws DataStreamError `internal` for any other.
 */
export function messageBuffer(message: BatchResponse): MessageBuffer {
  const found = held.get(message);
  if (found === undefined)
    throw new DataStreamError("internal", "This message is in no shared memory, or was released.");
  return {
    buffer: found.pooled.buffer,
    bytes: found.bytes,
    offsets: message.items.map((item) => item.byteOffset),
  };
}

/**
 * Gives the memory of a message back to its pool: its items and their hashes are void from then on. Whoever took the
 * message from its source does so once, also when the message is refused. For others, and again, it does nothing.
 */
export function releaseMessage(message: BatchResponse): void {
  const found = held.get(message);
  held.delete(message);
  if (found?.lastUse === undefined) found?.pooled.release();
  else void found.lastUse().finally(() => found.pooled.release());
}

/** Like `releaseMessage`, for a message that is not to be used any more, whoever waited for that. */
export function discardMessage(message: BatchResponse): void {
  held.get(message)?.pooled.release();
  held.delete(message);
}

/**
 * Lets somebody use a message's memory when its consumer has released it; only then it goes back to the pool. For a
 * message that is not in shared memory, or was released, nothing happens.
 * @param use must not reject.
 */
export function whenReleased(message: BatchResponse, use: () => Promise<void>): void {
  const found = held.get(message);
  if (found !== undefined) found.lastUse = use;
}
