import { describe, expect, test } from "vitest";
import { Gateway } from "../../../client/http.ts";
import { MessagePool } from "../../../companion/receive/message-pool.ts";
import { messageBuffer, releaseMessage } from "../../../companion/receive/messages.ts";
import { socketSource } from "../../../companion/receive/socket-source.ts";
import { keyPairOf } from "../../../core/trust/ed25519.ts";
import { utf8 } from "../../../core/text.ts";
import { type BatchResponse } from "../../../proto/index.ts";
import { createCertificate } from "../../../scripts/certificates.ts";
import { noise } from "../../stream/fixture.ts";
import { answer, streamBody, type Framing } from "./wire.ts";
import { MIB, all, batchOf, chunks, open, serve, start, stop } from "./source-calls.ts";

function expectBatches(messages: readonly BatchResponse[], itemBytes: number): void {
  for (const [index, message] of messages.entries()) {
    const [item, last] = message.items as [Uint8Array, Uint8Array];
    const { buffer, offsets, bytes } = messageBuffer(message);
    expect(buffer).toBeInstanceOf(SharedArrayBuffer);
    expect(offsets).toEqual([item.byteOffset, last.byteOffset]);
    expect(bytes.byteLength).toBeGreaterThan(itemBytes);
    expect(Buffer.compare(item, noise(itemBytes, index))).toBe(0);
    expect([...last]).toEqual([index]);
  }
}

test("messages of megabytes come into shared memory, and the request says who asks", async () => {
  const batches = [0, 1, 2].map((index) => batchOf(index, 3 * MIB));
  const { url, requests } = await serve(answer(streamBody(batches), chunks));
  const messages = await all(await open(url));
  expect(messages).toHaveLength(3);
  expectBatches(messages, 3 * MIB);
  for (const line of [
    "POST /cyxcloud.datastream.DataStreamService/StreamBatches HTTP/1.1",
    "authorization: Bearer secret",
    "content-type: application/connect+proto",
    "connection: close",
  ])
    expect(requests[0]?.split("\r\n")).toContain(line);
});

const pieces = (...sizes: number[]): Framing => ({ by: "chunks", sizes, extension: "", trailer: "" });

test.each<[string, Framing]>([
  ["chunks of a megabyte", pieces(MIB)],
  ["chunks of all sizes", pieces(200_000, 1, 300_001, 65_536, 17)],
  ["a length", { by: "length" }],
  ["the end of the connection", { by: "close" }],
])("bytes come to their place when the answer is framed by %s", async (_name, framing) => {
  const sizes = [1.2e6, 10, 3.3e6, 65_536 - 30, 700_001];
  const { url } = await serve(answer(streamBody(sizes.map((size, index) => batchOf(index, size))), framing));
  const messages = await all(await open(url));
  expect(messages).toHaveLength(sizes.length);
  for (const [index, size] of sizes.entries())
    expect(Buffer.compare(messages[index]?.items[0] as Uint8Array, noise(size, index))).toBe(0);
});

test("an answer that ends with a message, and not with the end of the stream, is cut short", async () => {
  const body = streamBody([batchOf(0, MIB)]).subarray(0, -7);
  const server = await start((socket) => void socket.write(answer(body, { by: "length" })));
  await expect(all(await open(server.url))).rejects.toMatchObject({ code: "unavailable" });
  await server.closed();
});

test("a base path is kept, and a node's key proves the very address", async () => {
  const { url, requests } = await serve(answer(streamBody([]), chunks));
  const token = `x.${btoa(JSON.stringify({ cnf: { jkt: "key" } }))}.y`;
  const gateway = new Gateway({
    gateway: `${url}/below/`,
    accessToken: token,
    nodeKey: keyPairOf(new Uint8Array(32).fill(1)),
  });
  await all(await open(url, { gateway }));
  const head = requests[0] ?? "";
  expect(head).toMatch(/^POST \/below\/cyxcloud/);
  const proof = /dpop: \S+\.(\S+)\./.exec(head)?.[1] ?? "";
  expect(JSON.parse(Buffer.from(proof, "base64url").toString())).toMatchObject({
    htm: "POST",
    htu: `${url}/below/cyxcloud.datastream.DataStreamService/StreamBatches`,
  });
});

test("a full pool stops the socket until messages are released", async () => {
  const count = 12;
  const body = streamBody(Array.from({ length: count }, (_, index) => batchOf(index, 2 * MIB)));
  let written = 0;
  const server = await start((socket) => {
    const bytes = answer(body, { by: "length" });
    const more = (): void => {
      while (written < bytes.length) {
        const piece = bytes.subarray(written, written + 65_536);
        written += piece.length;
        if (!socket.write(piece)) return void socket.once("drain", more);
      }
      socket.end();
    };
    more();
  });
  const pool = new MessagePool(6 * MIB);
  const messages = await open(server.url, { pool });
  const held: BatchResponse[] = [];
  let seen = 0;
  for (let next = await messages.next(); next.done !== true; next = await messages.next()) {
    expect(Buffer.compare(next.value.items[0] as Uint8Array, noise(2 * MIB, seen++))).toBe(0);
    expect(pool.heldBytes).toBeLessThanOrEqual(6 * MIB);
    held.push(next.value);
    if (held.length === 2) for (const message of held.splice(0)) releaseMessage(message);
  }
  for (const message of held) releaseMessage(message);
  expect(seen).toBe(count);
  expect(pool.heldBytes).toBe(0);
});

describe("errors", () => {
  const respond = async (status: string, headers: readonly string[], body = ""): Promise<string> =>
    (
      await serve(
        utf8(
          `HTTP/1.1 ${status}\r\n${[...headers, `content-length: ${body.length}`].join("\r\n")}\r\n\r\n${body}`,
        ),
      )
    ).url;

  test.each([
    [
      "a problem document",
      "403 Forbidden",
      { code: "permission_denied", detail: "The token lacks a scope.", scope: "stream" },
      { code: "permission_denied", message: "The token lacks a scope.", details: { scope: "stream" } },
    ],
    [
      "an error of Connect",
      "429 Too Many Requests",
      { code: "resource_exhausted", message: "Slow down." },
      { code: "resource_exhausted", message: "Slow down." },
    ],
    [
      "a status alone",
      "502 Bad Gateway",
      "<html>",
      { code: "unavailable", message: "The gateway answered 502." },
    ],
    ["null", "500 Oops", null, { code: "internal", message: "The gateway answered 500." }],
  ])("%s becomes the same error as with fetch", async (_name, status, body, expected) => {
    const text = typeof body === "string" ? body : JSON.stringify(body);
    const url = await respond(status, ["content-type: application/json"], text);
    await expect(open(url)).rejects.toMatchObject(expected);
    await expect(new Gateway({ gateway: url }).send("POST", "/x")).rejects.toMatchObject(expected);
  });

  test("a redirect and a proxy are named", async () => {
    const moved = await respond("308 Permanent Redirect", ["location: https://other.example/path?token=abc"]);
    await expect(open(moved)).rejects.toMatchObject({
      code: "failed_precondition",
      message: expect.stringMatching(/redirect \(308\) to https:\/\/other\.example\. /),
    });
    await stop();
    const proxied = await respond("407 Proxy Authentication Required", []);
    await expect(open(proxied)).rejects.toMatchObject({
      code: "failed_precondition",
      message: expect.stringMatching(/proxy/),
    });
  });

  test.each([
    ["a page", ["content-type: text/html"], "something other than a stream"],
    ["no type", ["server: x"], "something other than a stream"],
    ["compression", ["content-type: application/connect+proto", "content-encoding: gzip"], "compressed"],
  ])("%s in place of a stream", async (_name, headers, message) => {
    const url = await respond("200 OK", headers, "<html>");
    await expect(open(url)).rejects.toMatchObject({
      code: "unavailable",
      message: expect.stringContaining(message),
    });
  });

  test("nobody listens, or the connection breaks", async () => {
    const { url } = await serve(answer(streamBody([batchOf(0, 10)]), chunks).subarray(0, -30));
    const messages = await open(url);
    await expect(all(messages)).rejects.toMatchObject({ code: "unavailable" });
    await stop();
    await expect(open(url)).rejects.toMatchObject({
      code: "unavailable",
      message: expect.stringMatching(/cannot be reached \(ECONNREFUSED\)/),
    });
  });

  test("a token that cannot be a header is refused before anything is sent", async () => {
    const gateway = {
      base: "http://127.0.0.1:1",
      authorize: () => Promise.resolve({ authorization: "a\r\nb: c" }),
    };
    const opening = open("", { gateway: gateway as unknown as Gateway });
    await expect(opening).rejects.toMatchObject({
      code: "invalid_argument",
      message: expect.stringMatching(/authorization/),
    });
    await expect(opening).rejects.toThrow(/^((?!b: c).)*$/s);
  });
});

describe("TLS", () => {
  const authority = createCertificate("authority");
  const ca = authority.pem.cert;
  const certificate = createCertificate("gateway", authority).pem;
  const batches = [0, 1, 2, 3].map((index) => batchOf(index, 2 * MIB));

  test("a certificate of the named authority is trusted, over IP address and name", async () => {
    const { url } = await serve(answer(streamBody(batches), chunks), certificate);
    for (const address of [url, url.replace("127.0.0.1", "localhost")]) {
      // Less memory than the messages need: TLS goes on for a while after the socket was paused.
      const pool = new MessagePool(5 * MIB);
      const messages = await open(address, { pool, tls: { ca } });
      for (let i = 0; i < batches.length; i++) {
        const { value } = (await messages.next()) as { value: BatchResponse };
        expect(Buffer.compare(value.items[0] as Uint8Array, noise(2 * MIB, i))).toBe(0);
        releaseMessage(value);
      }
      expect((await messages.next()).done).toBe(true);
    }
  });

  test("any other is refused, before the token is sent", async () => {
    const { url, requests } = await serve(answer(streamBody([]), chunks), certificate);
    await expect(open(url)).rejects.toMatchObject({
      code: "unavailable",
      message: expect.stringMatching(/cannot be reached/),
    });
    const other = createCertificate("authority").pem.cert;
    await expect(open(url, { tls: { ca: other } })).rejects.toMatchObject({ code: "unavailable" });
    expect(requests).toEqual([]);
  });

  test("this node shows its certificate to a gateway that asks for it", async () => {
    const asking = {
      ...certificate,
      ca,
      requestCert: true,
      rejectUnauthorized: true,
    };
    const { url } = await serve(answer(streamBody(batches), chunks), asking);
    const tls = { ca, ...createCertificate("node", authority).pem };
    expect(await all(await open(url, { tls }))).toHaveLength(batches.length);
    await expect(open(url, { tls: { ca } })).rejects.toMatchObject({ code: "unavailable" });
  });

  test("a gateway that speaks no HTTP/1.1 is refused", async () => {
    const { url } = await serve(answer(streamBody([]), chunks), {
      ...certificate,
      ALPNProtocols: ["h2"],
    });
    await expect(open(url, { tls: { ca } })).rejects.toMatchObject({ code: "unavailable" });
  });

  test("a key that cannot be read is refused at once, and not quoted", () => {
    const make = (): unknown => socketSource({ tls: { cert: "nonsense", key: "private" } });
    expect(make).toThrow(/^tls: the certificates or their key cannot be read \(\w+\)/);
  });
});
