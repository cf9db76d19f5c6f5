import fc from "fast-check";
import { expect, test } from "vitest";
import { MessagePool, type PooledBuffer } from "../../../companion/receive/message-pool.ts";

const KIB = 1024;
const LIMIT = 1024 * KIB;

const step = fc.oneof(
  fc.record({ do: fc.constant("ask" as const), bytes: fc.integer({ min: 0, max: 2 * LIMIT }) }),
  fc.record({ do: fc.constant("release" as const), which: fc.nat() }),
  fc.record({ do: fc.constant("leave" as const), which: fc.nat() }),
);

test("never more than the limit is lent, each buffer to one at a time, to whoever asked first", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
      const pool = new MessagePool(LIMIT);
      const held: PooledBuffer[] = [];
      const waiting: { id: number; bytes: number; leave: AbortController }[] = [];
      const served: number[] = [];
      const check = (): void => {
        const bytes = held.reduce((sum, { buffer }) => sum + buffer.byteLength, 0);
        expect(bytes).toBe(pool.heldBytes);
        if (held.length > 1) expect(bytes).toBeLessThanOrEqual(LIMIT);
        expect(new Set(held.map(({ buffer }) => buffer)).size).toBe(held.length);
        // Nobody waits for a pool that lends nothing.
        if (held.length === 0) expect(waiting).toEqual([]);
      };
      for (const [id, next] of steps.entries()) {
        if (next.do === "ask") {
          const leave = new AbortController();
          const waiter = { id, bytes: next.bytes, leave };
          waiting.push(waiter);
          void (async () => {
            const pooled = await pool.acquire(next.bytes, leave.signal).catch(() => undefined);
            waiting.splice(waiting.indexOf(waiter), 1);
            if (pooled === undefined) return;
            expect(pooled.buffer.byteLength).toBeGreaterThanOrEqual(next.bytes);
            held.push(pooled);
            served.push(id);
          })();
        } else if (next.do === "release") {
          const [pooled] = held.splice(next.which % Math.max(1, held.length), 1);
          pooled?.release();
          pooled?.release();
        } else {
          waiting[next.which % Math.max(1, waiting.length)]?.leave.abort();
        }
        await settled();
        check();
        if (waiting.length > 0) expect(pool.tryAcquire(0)).toBeUndefined();
      }
      while (held.length > 0) {
        held.pop()?.release();
        await settled();
        check();
      }
      expect(served).toEqual(served.toSorted((a, b) => a - b));
    }),
  );
});

/** Lets what was promised come to pass. */
async function settled(): Promise<void> {
  for (let turn = 0; turn < 5; turn++) await Promise.resolve();
}

test("buffers are used again, and those of other sizes make room", () => {
  const pool = new MessagePool(LIMIT);
  const first = pool.tryAcquire(400 * KIB);
  first?.release();
  const again = pool.tryAcquire(390 * KIB);
  expect(again?.buffer).toBe(first?.buffer);
  again?.release();
  const large = pool.tryAcquire(1000 * KIB);
  expect(large).toBeDefined();
  large?.release();
  expect(pool.tryAcquire(390 * KIB)?.buffer).not.toBe(first?.buffer);
});

test("a message larger than the pool is let in alone", () => {
  const pool = new MessagePool(LIMIT);
  const large = pool.tryAcquire(40 * LIMIT);
  expect(large?.buffer.byteLength).toBeGreaterThanOrEqual(40 * LIMIT);
  expect(pool.tryAcquire(1)).toBeUndefined();
  large?.release();
  expect(pool.tryAcquire(1)).toBeDefined();
});

test("whoever comes with an aborted signal does not wait", async () => {
  const pool = new MessagePool(LIMIT);
  pool.tryAcquire(LIMIT);
  await expect(pool.acquire(1, AbortSignal.abort())).rejects.toMatchObject({ code: "canceled" });
});
