/**
 * What the message slots rely on: workerd asks for the next chunk only after the one before was written, so its
 * memory may be used again. Not promised by the streams standard; this test fails the day the runtime changes.
 */
import { get } from "node:http";
import { convertV4MiniflareOptions, Miniflare } from "miniflare";
import { afterAll, beforeAll, expect, test } from "vitest";

const WORKER = `
export default {
  fetch(request) {
    const { searchParams } = new URL(request.url);
    const [size, count] = [Number(searchParams.get("size")), Number(searchParams.get("count"))];
    const memory = new Uint8Array(size);
    let sent = 0;
    const body = new ReadableStream({
      async pull(controller) {
        if (searchParams.get("wait") === "yes" && sent % 3 === 0) await new Promise((resolve) => setTimeout(resolve, 1));
        if (sent === count) return controller.close();
        memory.fill(255);
        memory.fill(sent % 251);
        sent += 1;
        controller.enqueue(memory.subarray(0));
      },
    }, { highWaterMark: 0 });
    return new Response(body, { headers: { "content-type": "application/octet-stream" } });
  },
};`;

let miniflare: Miniflare;
let url: URL;
beforeAll(async () => {
  miniflare = new Miniflare(
    convertV4MiniflareOptions({
      cf: false,
      host: "127.0.0.1",
      port: 0,
      compatibilityDate: "2026-11-01",
      modules: [{ type: "ESModule", path: "worker.mjs", contents: WORKER }],
    }),
  );
  url = await miniflare.ready;
});
afterAll(() => miniflare.dispose());

/** How many bytes differ from what stood in the chunk when it was enqueued. */
function countOverwritten(
  size: number,
  count: number,
  wait: boolean,
  slowReader: boolean,
): Promise<{ wrong: number; read: number }> {
  return new Promise((resolve, reject) => {
    const request = get(
      new URL(`?size=${size}&count=${count}&wait=${wait ? "yes" : "no"}`, url),
      (response) => {
        let [read, wrong] = [0, 0];
        response.on("data", (chunk: Buffer) => {
          for (const byte of chunk) if (byte !== Math.floor(read++ / size) % 251) wrong += 1;
          if (!slowReader) return;
          response.pause();
          setImmediate(() => setImmediate(() => response.resume()));
        });
        response.on("end", () => resolve({ wrong, read }));
        response.on("error", reject);
      },
    );
    request.on("error", reject);
  });
}

test.each([
  [100, 2000],
  [6_000, 500],
  [200_000, 40],
  [3_000_000, 6],
])("memory of %d bytes used %d times reaches the client as it was enqueued", async (size, count) => {
  for (const wait of [false, true]) {
    for (const slowReader of [false, true]) {
      expect(await countOverwritten(size, count, wait, slowReader)).toEqual({ wrong: 0, read: size * count });
    }
  }
});
