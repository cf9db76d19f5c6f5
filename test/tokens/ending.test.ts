/** A stream that is ended from outside while its last message may still be on its way. */
import { randomUUID } from "node:crypto";
import { afterEach, expect, test } from "vitest";
import { DataStreamError } from "../../core/errors.ts";
import { noiseFiles } from "../stream/fixture.ts";
import { createInProcess, drain, type InProcess } from "../stream/in-process.ts";

let running: InProcess | undefined;
afterEach(() => running?.close());

test("it keeps what it handed out until it is asked again, then says why", async () => {
  const process = (running = await createInProcess(
    noiseFiles(24, () => 50_000),
    { chunkBytes: 256 * 1024, limits: { openCalls: 100 } },
  ));
  const init = { batchSize: 4, shuffle: true };
  const stream = await process.open({ ...init, streamId: randomUUID() });
  const message = await stream.next();
  if (message.kind !== "batch") throw new Error("There is no batch.");
  const before = message.bytes.slice();
  const reason = new DataStreamError("unauthenticated", "Over.");
  stream.end(reason);
  stream.end(new DataStreamError("internal", "Too late."));
  // Another uses whatever memory is free.
  expect((await drain(await process.open({ ...init, streamId: randomUUID() }))).batches).toHaveLength(6);
  expect(Buffer.compare(message.bytes, before)).toBe(0);
  await expect(stream.next()).rejects.toBe(reason);
  await expect(stream.next()).rejects.toBe(reason);
  stream.close();
  while (process.budget.usedBytes > 0) await new Promise((resolve) => setImmediate(resolve));
});

test("one that is just making a message ends with the reason, and gives everything back", async () => {
  const process = (running = await createInProcess(
    noiseFiles(24, () => 50_000),
    { chunkBytes: 256 * 1024 },
  ));
  const stream = await process.open({ batchSize: 4 });
  const reason = new DataStreamError("unauthenticated", "Over.");
  const unfinished = stream.next();
  stream.end(reason);
  await expect(unfinished).rejects.toBe(reason);
  stream.close();
  while (process.budget.usedBytes > 0) await new Promise((resolve) => setImmediate(resolve));
});
