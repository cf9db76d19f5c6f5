import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Slots, type SlotLease } from "../../../companion/memory/slots.ts";

describe("a loan", () => {
  test("goes from free over filling and ready to held, and back by its number", async () => {
    const slots = new Slots(2);
    const lease = await slots.acquire();
    expect([lease.index, lease.number]).toEqual([0, 1]);
    expect([slots.free, slots.filling]).toEqual([1, 1]);
    lease.ready();
    expect([slots.filling, slots.ready]).toEqual([0, 1]);
    lease.handOver();
    expect([slots.ready, slots.held]).toEqual([0, 1]);
    slots.release(1, 0);
    expect([slots.free, slots.held]).toEqual([2, 0]);
  });

  test("is released by the consumer only while that holds it, and only by its own number and slot", async () => {
    const slots = new Slots(2);
    const lease = await slots.acquire();
    expect(() => slots.release(1, 0)).toThrow("does not hold");
    lease.ready();
    expect(() => slots.release(1, 0)).toThrow("does not hold");
    lease.handOver();
    expect(() => slots.release(1, 1)).toThrow("does not hold slot 1");
    expect(() => slots.release(2, 0)).toThrow("does not hold");
    slots.release(1, 0);
    // The slot is lent again; the old number must not free it.
    const next = await slots.acquire();
    expect(next.index).toBe(0);
    next.ready();
    next.handOver();
    expect(() => slots.release(1, 0)).toThrow("released once");
    expect(slots.held).toBe(1);
  });

  test("takes no step twice or out of order", async () => {
    const lease = await new Slots(1).acquire();
    expect(() => lease.handOver()).toThrow("it is filling");
    lease.ready();
    expect(() => lease.ready()).toThrow("it is ready");
    lease.release();
    lease.release();
    expect(() => lease.handOver()).toThrow("it is free");
  });
});

describe("whoever waits", () => {
  test("is served in order", async () => {
    const slots = new Slots(1);
    const first = await slots.acquire();
    const order: string[] = [];
    const waiting = ["a", "b"].map(async (name) => {
      const lease = await slots.acquire();
      order.push(name);
      lease.release();
    });
    first.release();
    await Promise.all(waiting);
    expect(order).toEqual(["a", "b"]);
    expect(slots.free).toBe(1);
  });

  test("may give up, and takes no slot then", async () => {
    const slots = new Slots(1);
    const lease = await slots.acquire();
    const controller = new AbortController();
    const waiting = slots.acquire(controller.signal);
    const next = slots.acquire();
    controller.abort(new Error("enough"));
    await expect(waiting).rejects.toThrow("enough");
    lease.release();
    expect((await next).index).toBe(0);
    await expect(slots.acquire(controller.signal)).rejects.toThrow("enough");
  });
});

describe("closing", () => {
  test("frees what the consumer has, fails who waits, and waits for what is being filled", async () => {
    const slots = new Slots(2);
    const held = await slots.acquire();
    held.ready();
    held.handOver();
    const filling = await slots.acquire();
    const waiting = slots.acquire();
    let closed = false;
    const closing = slots.close().then(() => (closed = true));
    await expect(waiting).rejects.toMatchObject({ code: "canceled" });
    expect([slots.held, slots.filling, closed]).toEqual([0, 1, false]);
    // Whoever fills does not know yet that the consumer is gone.
    filling.ready();
    filling.handOver();
    filling.release();
    await closing;
    await slots.close();
    expect(slots.free).toBe(2);
    await expect(slots.acquire()).rejects.toMatchObject({ code: "canceled" });
  });
});

test.each([0, -1, 1.5])("%d slots are refused", (count) => {
  expect(() => new Slots(count)).toThrow("slots");
});

test("whatever happens, no slot is lent twice, no number is used again, and none is lost", async () => {
  const steps = fc.array(fc.tuple(fc.constantFrom("acquire", "step", "release", "forged"), fc.nat(20)), {
    maxLength: 200,
  });
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 1, max: 5 }), steps, async (count, script) => {
      const slots = new Slots(count);
      const loans: { lease: SlotLease; steps: number }[] = [];
      const numbers = new Set<number>();
      for (const [step, which] of script) {
        const at = which % Math.max(1, loans.length);
        const loan = loans[at];
        if (step === "acquire" && slots.free > 0) {
          const lease = await slots.acquire();
          expect(loans.map(({ lease: other }) => other.index)).not.toContain(lease.index);
          expect(numbers).not.toContain(lease.number);
          numbers.add(lease.number);
          loans.push({ lease, steps: 0 });
        } else if (step === "step" && loan !== undefined && loan.steps < 2) {
          if (loan.steps++ === 0) loan.lease.ready();
          else loan.lease.handOver();
        } else if (step === "release" && loan !== undefined) {
          if (loan.steps === 2) slots.release(loan.lease.number, loan.lease.index);
          else loan.lease.release();
          loans.splice(at, 1);
        } else if (step === "forged") {
          const index = which % count;
          const owner = loans.find(
            ({ lease, steps: taken }) => taken === 2 && lease.number === which && lease.index === index,
          );
          if (owner === undefined) expect(() => slots.release(which, index)).toThrow("does not hold");
        }
        expect(slots.free + loans.length).toBe(count);
        expect(slots.held).toBe(loans.filter(({ steps: taken }) => taken === 2).length);
      }
    }),
  );
});
