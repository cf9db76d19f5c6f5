import type { Socket } from "node:net";
import { describe, expect, test } from "vitest";
import type { StartIdleTimer } from "../../../companion/receive/idle-timer.ts";
import { MessagePool, type PooledBuffer } from "../../../companion/receive/message-pool.ts";
import { releaseMessage } from "../../../companion/receive/messages.ts";
import { concatBytes } from "../../../core/bytes.ts";
import { RECEIVE_IDLE_MS } from "../../../core/limits.ts";
import { type BatchResponse } from "../../../proto/index.ts";
import type { RawServer } from "./raw-server.ts";
import { answer, envelope, streamBody } from "./wire.ts";
import { MIB, batchOf, chunks, open, serve, start, stop } from "./source-calls.ts";

/** Time that passes when the test says so. */
class ManualTime {
  readonly #timers = new Map<() => void, number>();

  readonly startTimer: StartIdleTimer = (ms, ranOut) => {
    const timer = { refresh: () => this.#timers.set(ranOut, ms), stop: () => this.#timers.delete(ranOut) };
    timer.refresh();
    return timer;
  };

  get running(): number {
    return this.#timers.size;
  }

  pass(ms: number): void {
    for (const [ranOut, left] of this.#timers) {
      this.#timers.set(ranOut, left - ms);
      if (left > ms) continue;
      this.#timers.delete(ranOut);
      ranOut();
    }
  }
}

describe("leaving", () => {
  const silent = async (): Promise<RawServer> =>
    await start((socket) => {
      const bytes = answer(
        concatBytes([
          streamBody([batchOf(0, 10)]).subarray(0, -7),
          envelope(0, batchOf(1, 1e6).items[0] as Uint8Array),
        ]),
        { by: "close" },
      );
      socket.write(bytes.subarray(0, -10));
    });

  test("the signal ends a wait for bytes, and the connection", async () => {
    const { url, closed } = await silent();
    const [aborter, pool] = [new AbortController(), new MessagePool()];
    const messages = await open(url, { signal: aborter.signal, pool });
    releaseMessage((await messages.next()).value as BatchResponse);
    const waiting = messages.next();
    aborter.abort();
    await expect(waiting).rejects.toMatchObject({ code: "canceled" });
    await closed();
    expect(pool.heldBytes).toBe(0);
  });

  test("the signal ends a wait for the head", async () => {
    const server = await start(() => undefined);
    const aborter = new AbortController();
    const opening = open(server.url, { signal: aborter.signal });
    aborter.abort();
    await expect(opening).rejects.toMatchObject({ code: "canceled" });
    await expect(open(server.url, { signal: aborter.signal })).rejects.toMatchObject({ code: "canceled" });
    await server.closed();
  });

  test.each([0, 1])(
    "returning after %s messages closes the connection and gives memory back",
    async (taken) => {
      const { url, closed } = await silent();
      const pool = new MessagePool();
      const messages = await open(url, { pool });
      for (let i = 0; i < taken; i++) releaseMessage((await messages.next()).value as BatchResponse);
      await messages.return({ continuation: undefined });
      await closed();
      expect(pool.heldBytes).toBe(0);
      expect(await messages.next()).toEqual({ done: true, value: undefined });
    },
  );

  test("a silent gateway is given up, in the head and in the body", async () => {
    const { url, closed } = await silent();
    const time = new ManualTime();
    const messages = await open(url, { startTimer: time.startTimer });
    await messages.next();
    const waiting = messages.next();
    time.pass(RECEIVE_IDLE_MS);
    await expect(waiting).rejects.toMatchObject({
      code: "unavailable",
      message: expect.stringMatching(/nothing for 60 s/),
    });
    await closed();
    await stop();
    const asked = Promise.withResolvers<void>();
    const server = await start(() => asked.resolve());
    const opening = open(server.url, { startTimer: time.startTimer });
    await asked.promise;
    time.pass(RECEIVE_IDLE_MS);
    await expect(opening).rejects.toMatchObject({ code: "unavailable" });
    expect(time.running).toBe(0);
  });

  test("a gateway that sends something now and then is not silent", async () => {
    const connected = Promise.withResolvers<Socket>();
    const server = await start((socket) => connected.resolve(socket));
    const time = new ManualTime();
    const opening = open(server.url, { startTimer: time.startTimer });
    const socket = await connected.promise;
    const batches = [0, 1, 2].map((index) => streamBody([batchOf(index, 10)]).subarray(0, -7));
    socket.write(answer(concatBytes(batches.slice(0, 1)), { by: "close" }));
    const messages = await opening;
    for (const next of batches.slice(1)) {
      expect((await messages.next()).done).toBe(false);
      time.pass(RECEIVE_IDLE_MS - 1);
      socket.write(next);
    }
    expect((await messages.next()).value).toMatchObject({ batchIndex: 2n });
    await messages.return({ continuation: undefined });
  });

  test("a consumer that takes its time is no silent gateway", async () => {
    const isFull = Promise.withResolvers<void>();
    class WatchedPool extends MessagePool {
      override acquire(...call: Parameters<MessagePool["acquire"]>): Promise<PooledBuffer> {
        const acquired = super.acquire(...call);
        isFull.resolve();
        return acquired;
      }
    }
    const time = new ManualTime();
    const { url } = await serve(
      answer(streamBody([0, 1, 2].map((index) => batchOf(index, 3 * MIB))), chunks),
    );
    const messages = await open(url, { startTimer: time.startTimer, pool: new WatchedPool(4 * MIB) });
    const first = (await messages.next()).value as BatchResponse;
    // From here on nothing is read until memory is given back.
    await isFull.promise;
    time.pass(10 * RECEIVE_IDLE_MS);
    releaseMessage(first);
    let seen = 1;
    for (let next = await messages.next(); next.done !== true; next = await messages.next()) {
      seen++;
      releaseMessage(next.value);
    }
    expect(seen).toBe(3);
  });
});
