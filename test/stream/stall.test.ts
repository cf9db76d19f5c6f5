/** Readers that stand still give back what they hold: without that, forty of them would starve an isolate. */
import { afterAll, afterEach, expect, test, vi } from "vitest";
import { STREAM_STALL_MS } from "../../core/limits.ts";
import { streamProtocol, type StreamProtocol } from "../../functions/datastream/stream/framing.ts";
import { streamResponse } from "../../functions/datastream/stream/response.ts";
import type { Log } from "../../functions/log.ts";
import { noiseFiles } from "./fixture.ts";
import { createInProcess } from "./in-process.ts";

/** As many invocations at once as there are readers. */
const limits = { openCalls: 1_000 };
const gateway = await createInProcess(
  noiseFiles(64, () => 4_000),
  { limits },
);
const quiet: Log = { info: () => {}, warn: () => {}, error: () => {}, with: () => quiet };
const protocol = streamProtocol(
  new Headers({ "content-type": "application/connect+proto" }),
) as StreamProtocol;
const [set, cleared] = [vi.spyOn(globalThis, "setTimeout"), vi.spyOn(globalThis, "clearTimeout")];
afterEach(() => void vi.clearAllMocks());
afterAll(async () => {
  vi.restoreAllMocks();
  await gateway.close();
});

/** What the passing of two minutes does to everybody who is waited for. */
function passTime(): void {
  const stopped = new Set<unknown>(cleared.mock.calls.map(([timer]) => timer));
  for (const [index, [run, delay]] of set.mock.calls.entries())
    if (delay === STREAM_STALL_MS && !stopped.has(set.mock.results[index]?.value)) run();
}

async function freed(): Promise<void> {
  while (gateway.budget.usedBytes > 0) await new Promise((resolve) => setImmediate(resolve));
}

test("forty readers that never read on give their memory back", async () => {
  const readers: ReadableStreamDefaultReader<Uint8Array>[] = [];
  for (let n = 0; n < 40; n++) {
    const stream = await gateway.open({ batchSize: 16, streamId: `still-${n}` });
    const body = streamResponse(stream, protocol, quiet, undefined).body as ReadableStream<Uint8Array>;
    readers.push(body.getReader());
    await readers[n]?.read();
  }
  expect(gateway.budget.usedBytes).toBeGreaterThan(40 * 16 * 4_000);
  passTime();
  await gateway.settled();
  await freed();
  for (const reader of readers) await expect(reader.read()).rejects.toThrow("stands still");
});

test("so does one that takes messages of another codec", async () => {
  const messages = gateway.messages({ batchSize: 16, streamId: "json" });
  await messages.next();
  expect(gateway.budget.usedBytes).toBeGreaterThan(16 * 4_000);
  passTime();
  await freed();
  await expect(messages.next()).rejects.toMatchObject({ code: "canceled" });
});
