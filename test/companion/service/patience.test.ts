/** Connections to the port that never come to a whole request are ended. Nothing here says how soon. */
import { once } from "node:events";
import { Agent, request } from "node:http";
import { connect, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import { afterEach, describe, expect, test } from "vitest";
import { OnePort, type PortPatience } from "../../../companion/service/one-port.ts";
import { createCertificate } from "../../../scripts/certificates.ts";

/** One limit at a time is short; the others are never reached. */
const NEVER = 3_600_000;
const SHORT = 40;
const tls = createCertificate("localhost").pem;

let port: OnePort;
afterEach(() => port.close());

async function listen(patience: Partial<PortPatience>, isTls = false): Promise<void> {
  port = await OnePort.listen({
    address: { host: "127.0.0.1", port: 0 },
    handle: (_, response) => void response.end("here"),
    patience: { headMs: NEVER, requestMs: NEVER, keepAliveMs: NEVER, ...patience },
    ...(isTls && { tls }),
  });
}

const open = (): Socket => connect(port.address as number, "127.0.0.1");

/** What comes until the port ends the connection; this side never does. */
async function ended(socket: Socket): Promise<string> {
  let received = "";
  socket.on("error", () => undefined);
  socket.on("data", (piece: Buffer) => (received += piece.toString("latin1")));
  await once(socket, "close");
  return received;
}

const HEAD = "GET / HTTP/1.1\r\nhost: localhost\r\n";

describe.each([
  ["plain", false],
  ["TLS", true],
])("%s", (_, isTls) => {
  const start = (): Socket =>
    isTls ? connectTls({ port: port.address as number, ca: tls.cert, servername: "localhost" }) : open();

  test.each([
    ["nothing", ""],
    ["the beginning of HTTP/2", "PRI * HTTP/2.0\r\n"],
    ["a part of a head", HEAD],
  ])("%s", async (_what, bytes) => {
    await listen({ headMs: SHORT, requestMs: SHORT }, isTls);
    const socket = start();
    if (bytes !== "") socket.write(bytes);
    // On a machine that is busy, even what tells the protocols apart may be late.
    expect(await ended(socket)).toMatch(/^(HTTP\/1.1 408|$)/);
  });
});

test("a second request that stays incomplete", async () => {
  await listen({ headMs: SHORT, requestMs: SHORT });
  const socket = open();
  socket.write(`${HEAD}\r\n${HEAD}`);
  expect(await ended(socket)).toMatch(/^(HTTP\/1.1 (200|408)|$)/);
});

test("a body that stays incomplete", async () => {
  await listen({ headMs: SHORT, requestMs: SHORT });
  const socket = open();
  socket.write(`POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\n\r\nabc`);
  await ended(socket);
});

test("a connection that lies idle between requests", async () => {
  await listen({ keepAliveMs: SHORT });
  const socket = open();
  socket.write(`${HEAD}\r\n`);
  expect(await ended(socket)).toMatch(/^HTTP\/1.1 200 [^]*here/);
});

test("a TLS handshake that is never begun", async () => {
  await listen({ headMs: SHORT, requestMs: SHORT }, true);
  await ended(open());
});

test("closing ends a handshake, too", async () => {
  await listen({}, true);
  const socket = open();
  await once(socket, "connect");
  const closed = ended(socket);
  await port.close();
  await closed;
});

test("a connection is used again within its limits", async () => {
  await listen({});
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const sockets = new Set<Socket>();
  for (let i = 0; i < 3; i++) {
    const asked = request({ host: "127.0.0.1", port: port.address as number, agent });
    asked.end();
    const [response] = (await once(asked, "response")) as [NodeJS.ReadableStream & { socket: Socket }];
    sockets.add(response.socket);
    response.resume();
    await once(response, "end");
  }
  expect(sockets.size).toBe(1);
  agent.destroy();
});
