/** A response must never let go of memory that the runtime still reads from: another stream would write there. */
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { DataStreamError } from "../../core/errors.ts";
import { SEND_PIECE_BYTES, STREAM_STALL_MS } from "../../core/limits.ts";
import { streamProtocol, type StreamProtocol } from "../../functions/datastream/stream/framing.ts";
import type { RunningStream } from "../../functions/datastream/stream/open.ts";
import type { StreamEnd, StreamMessage } from "../../functions/datastream/stream/producer.ts";
import { streamResponse } from "../../functions/datastream/stream/response.ts";
import type { Log } from "../../functions/log.ts";

const quiet: Log = { info: () => {}, warn: () => {}, error: () => {}, with: () => quiet };
const protocol = streamProtocol(
  new Headers({ "content-type": "application/connect+proto" }),
) as StreamProtocol;
const MESSAGE = 7;
const SOMEBODY_ELSES = 99;

/** Hands out one message in memory that others use as soon as it is given back; later ones never come. */
class SharedMemory implements RunningStream {
  readonly streamId = "stream";
  readonly fields = {};
  readonly sent = 1;
  readonly memory: Uint8Array<ArrayBuffer>;
  closed = false;
  makesMore = false;
  #asked = 0;
  #ended: Error | undefined;
  #stopped: ((error: Error) => void) | undefined;

  constructor(byteLength: number) {
    this.memory = new Uint8Array(byteLength).fill(MESSAGE);
  }

  next(): Promise<StreamMessage | StreamEnd> {
    this.#asked += 1;
    if (this.#asked === 1) return Promise.resolve({ kind: "batch", bytes: this.memory });
    this.memory.fill(SOMEBODY_ELSES);
    if (this.#ended !== undefined) return Promise.reject(this.#ended);
    if (this.makesMore) return Promise.resolve({ kind: "batch", bytes: this.memory.fill(MESSAGE) });
    return new Promise((_resolve, reject) => (this.#stopped = reject));
  }

  end(reason: Error): void {
    this.#ended = reason;
    this.#stopped?.(reason);
  }

  close(): void {
    this.closed = true;
    this.memory.fill(SOMEBODY_ELSES);
  }
}

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

test("a deadline that passes while a message goes out ends the stream after that message, with its own bytes", async () => {
  const stream = new SharedMemory(2 * SEND_PIECE_BYTES + 100);
  const body = (streamResponse(stream, protocol, quiet, 1000).body as ReadableStream<Uint8Array>).getReader();
  const pieces: Uint8Array[] = [];
  const first = await body.read();
  await vi.advanceTimersByTimeAsync(1500);
  // What a runtime still has to write when the timer fires.
  pieces.push(first.value as Uint8Array);
  expect((first.value as Uint8Array).every((byte) => byte === MESSAGE)).toBe(true);
  let last: Uint8Array = new Uint8Array();
  for (;;) {
    const { done, value } = await body.read();
    if (done) break;
    last = value;
    if (value[0] === MESSAGE) expect(value.every((byte) => byte === MESSAGE)).toBe(true);
    pieces.push(value.slice());
  }
  const received = pieces.slice(0, -1).reduce((sum, piece) => sum + piece.length, 0);
  expect(received).toBe(stream.memory.length);
  expect(new TextDecoder().decode(last.subarray(5))).toContain("deadline_exceeded");
  expect(stream.closed).toBe(true);
});

test("a deadline that passes while the next message is made ends the wait at once", async () => {
  const stream = new SharedMemory(100);
  const body = (streamResponse(stream, protocol, quiet, 1000).body as ReadableStream<Uint8Array>).getReader();
  await body.read();
  const waiting = body.read();
  await vi.advanceTimersByTimeAsync(1500);
  const { value } = await waiting;
  expect(new TextDecoder().decode((value as Uint8Array).subarray(5))).toContain("deadline_exceeded");
  expect(stream.closed).toBe(true);
});

const readerOf = (stream: SharedMemory): ReadableStreamDefaultReader<Uint8Array> =>
  (streamResponse(stream, protocol, quiet, undefined).body as ReadableStream<Uint8Array>).getReader();

test("a reader that takes nothing for two minutes is cut off, and its memory is free", async () => {
  const stream = new SharedMemory(2 * SEND_PIECE_BYTES);
  const body = readerOf(stream);
  await body.read();
  await vi.advanceTimersByTimeAsync(STREAM_STALL_MS - 1);
  expect(stream.closed).toBe(false);
  await vi.advanceTimersByTimeAsync(1);
  expect(stream.closed).toBe(true);
  await expect(body.read()).rejects.toThrow("stands still");
  expect(vi.getTimerCount()).toBe(0);
});

test("so is one that never began to read", async () => {
  const stream = new SharedMemory(100);
  const body = readerOf(stream);
  await vi.advanceTimersByTimeAsync(STREAM_STALL_MS);
  expect(stream.closed).toBe(true);
  await expect(body.read()).rejects.toThrow("stands still");
});

test("a slow reader is not, nor one that waits for the gateway", async () => {
  const stream = new SharedMemory(SEND_PIECE_BYTES + 1);
  stream.makesMore = true;
  const body = readerOf(stream);
  for (let i = 0; i < 6; i++) {
    const { value } = await body.read();
    expect(value?.[0]).toBe(MESSAGE);
    await vi.advanceTimersByTimeAsync(STREAM_STALL_MS - 1);
  }
  stream.makesMore = false;
  const waiting = body.read();
  await vi.advanceTimersByTimeAsync(10 * STREAM_STALL_MS);
  expect(stream.closed).toBe(false);
  stream.end(new DataStreamError("unavailable", "That was all."));
  const { value } = await waiting;
  expect(new TextDecoder().decode((value as Uint8Array).subarray(5))).toContain("unavailable");
  expect(vi.getTimerCount()).toBe(0);
});

test("a reader that leaves keeps no timer running", async () => {
  const stream = new SharedMemory(100);
  const body = readerOf(stream);
  await body.read();
  await body.cancel();
  expect([stream.closed, vi.getTimerCount()]).toEqual([true, 0]);
});
