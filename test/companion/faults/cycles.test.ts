import { readdirSync } from "node:fs";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { expect, test } from "vitest";
import { images } from "../doubles.ts";
import { startDoubleCompanion } from "./double-companion.ts";

test("a thousand trainers that die at any moment leave no memory, slot, descriptor or file", async () => {
  const companion = await startDoubleCompanion(images(24));
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  const state = (): { descriptors: number; heap: number; resident: number } => {
    collect();
    const { heapUsed, external, rss } = process.memoryUsage();
    return { descriptors: readdirSync("/proc/self/fd").length, heap: heapUsed + external, resident: rss };
  };
  let cycle = 0;
  const cycles = async (to: number): Promise<void> => {
    for (; cycle < to; cycle++) {
      const client = await companion.connect();
      const request = companion.request({ epochs: 2, slots: 2 + (cycle % 3) });
      if (cycle % 7 === 0) client.send({ type: "open", ...request });
      else await client.open(request);
      const wanted = cycle % 7 === 0 ? 0 : cycle % 5;
      for (let batches = 0; batches < wanted; batches++) {
        const batch = await client.expect("batch");
        if (cycle % 2 === 0) client.release(batch, { acknowledge: true });
        else break;
      }
      client.kill();
      await companion.companion.quiet();
    }
  };
  await cycles(150);
  const before = state();
  await cycles(1_000);
  const after = state();
  expect(companion.companion.streams).toBe(0);
  expect(await companion.metric("slots")).toBe(0);
  expect(await companion.metric("message_bytes")).toBe(0);
  expect(readdirSync("/dev/shm").filter((name) => name.includes(`-${process.pid}-`))).toEqual([]);
  expect(after.descriptors - before.descriptors).toBeLessThan(10);
  await companion.close();
  // A leak of a ring or a message each time would be hundreds of megabytes.
  expect(after.heap - before.heap).toBeLessThan(24 * 2 ** 20);
  expect(after.resident - before.resident).toBeLessThan(96 * 2 ** 20);
}, 300_000);
