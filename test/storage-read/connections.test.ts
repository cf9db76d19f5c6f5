import { expect, test } from "vitest";
import { ConnectionGate } from "../../storage/connections.ts";

interface Task {
  readonly started: Promise<void>;
  readonly done: Promise<string>;
  finish(error?: Error): void;
}

function task(gate: ConnectionGate, name: string, order: string[]): Task {
  const started = Promise.withResolvers<void>();
  const end = Promise.withResolvers<void>();
  const done = gate.run(async () => {
    order.push(name);
    started.resolve();
    await end.promise;
    return name;
  });
  const finish = (error?: Error): void => (error === undefined ? end.resolve() : end.reject(error));
  return { started: started.promise, done, finish };
}

test("at most six tasks run at once, the others first come first served", async () => {
  const gate = new ConnectionGate();
  const order: string[] = [];
  const tasks = Array.from({ length: 20 }, (_, i) => task(gate, String(i), order));
  await Promise.all(tasks.slice(0, 6).map(({ started }) => started));
  expect(gate).toMatchObject({ open: 6, peak: 6, calls: 6 });
  for (const [i, running] of tasks.entries()) {
    running.finish();
    expect(await running.done).toBe(String(i));
    expect(gate.open).toBeLessThanOrEqual(6);
  }
  expect(order).toEqual(tasks.map((_, i) => String(i)));
  expect(gate).toMatchObject({ open: 0, peak: 6, calls: 20 });
});

test("a task that throws gives its connection back", async () => {
  const gate = new ConnectionGate(2);
  const order: string[] = [];
  for (let i = 0; i < 10; i++) {
    const failing = task(gate, `failing ${i}`, order);
    failing.finish(new Error("gone"));
    await expect(failing.done).rejects.toThrow("gone");
    await expect(
      gate.run(() => {
        throw new Error("at once");
      }),
    ).rejects.toThrow("at once");
  }
  expect(gate).toMatchObject({ open: 0, calls: 20 });
  expect(await gate.run(() => Promise.resolve("free"))).toBe("free");
});

test("a newcomer does not overtake one who waits", async () => {
  const gate = new ConnectionGate(1);
  const order: string[] = [];
  const first = task(gate, "first", order);
  const waiting = task(gate, "waiting", order);
  await first.started;
  first.finish();
  await first.done;
  const late = task(gate, "late", order);
  late.finish();
  waiting.finish();
  await Promise.all([waiting.done, late.done]);
  expect(order).toEqual(["first", "waiting", "late"]);
  expect(gate.peak).toBe(1);
});
