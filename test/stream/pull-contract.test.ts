/**
 * What the message slots rely on: workerd asks for the next chunk only after the one before was written, so its
 * memory may be used again; and so it may once the stream was broken off. Not promised by the streams standard; this
 * test fails the day the runtime changes.
 */
import { once } from "node:events";
import { get } from "node:http";
import { connect } from "node:net";
import { convertV4MiniflareOptions, Miniflare } from "miniflare";
import { afterEach, beforeEach, expect, test } from "vitest";

const WORKER = `
let cut = false;
export default {
  fetch(request) {
    const { searchParams } = new URL(request.url);
    const [size, count] = [Number(searchParams.get("size")), Number(searchParams.get("count"))];
    if (size === 0) return Response.json({ cut });
    const memory = new Uint8Array(size);
    let sent = 0;
    // Whoever is asked for nothing more for a while cuts the reader off, and uses the memory for something else.
    const cutAfter = (controller, count) => setTimeout(() => {
      if (count !== sent) return;
      controller.error(new Error("cut"));
      memory.fill(255);
      cut = true;
    }, 100);
    const body = new ReadableStream({
      async pull(controller) {
        if (searchParams.get("wait") === "yes" && sent % 3 === 0) await new Promise((resolve) => setTimeout(resolve, 1));
        if (sent === count) return controller.close();
        memory.fill(255);
        memory.fill(sent % 251);
        sent += 1;
        controller.enqueue(memory.subarray(0));
        if (searchParams.get("cut") === "yes") cutAfter(controller, sent);
      },
    }, { highWaterMark: 0 });
    return new Response(body, { headers: { "content-type": "application/octet-stream" } });
  },
};`;

let miniflare: Miniflare;
let url: URL;
beforeEach(async () => {
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
afterEach(() => miniflare.dispose());

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

test.each([200_000, 1_048_576, 16_000_000])(
  "memory of %d bytes that is used again once a reader was cut off never shows in what it read",
  async (size) => {
    const socket = connect(Number(url.port), "127.0.0.1");
    await once(socket, "connect");
    socket.pause();
    socket.write(
      `GET /?size=${size}&count=1000&cut=yes HTTP/1.1\r\nHost: ${url.host}\r\nConnection: close\r\n\r\n`,
    );
    await once(socket, "readable");
    while (!((await (await fetch(new URL("?size=0", url))).json()) as { cut: boolean }).cut);
    const pieces: Buffer[] = [];
    for await (const piece of socket) pieces.push(piece as Buffer);
    const answer = Buffer.concat(pieces);
    expect(answer.length).toBeGreaterThan(size);
    // No head and no other message has this byte.
    expect(answer.includes(255)).toBe(false);
  },
);
