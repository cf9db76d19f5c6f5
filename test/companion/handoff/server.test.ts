import { once } from "node:events";
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import fc from "fast-check";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { HandoffConnection } from "../../../companion/handoff/connection.ts";
import { LineReader } from "../../../companion/handoff/lines.ts";
import type { ClientMessage } from "../../../companion/handoff/messages.ts";
import { parseClientMessage } from "../../../companion/handoff/parse.ts";
import { HandoffServer, runtimeFolder } from "../../../companion/handoff/server.ts";
import { HANDOFF_LINE_MAX_BYTES } from "../../../core/limits.ts";

let folder: string;
let path: string;
const servers: HandoffServer[] = [];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "cyxcloud-handoff-"));
  path = join(folder, "1.sock");
});
afterEach(async () => {
  await Promise.all(servers.splice(0).map((server) => server.close()));
  rmSync(folder, { recursive: true, force: true });
});

/** A server that notes what comes in, and the connections. */
async function listen(): Promise<{
  server: HandoffServer;
  seen: ClientMessage[];
  connections: HandoffConnection[];
  ended: Promise<void>;
}> {
  const seen: ClientMessage[] = [];
  const connections: HandoffConnection[] = [];
  const { promise: ended, resolve } = Promise.withResolvers<void>();
  const server = await HandoffServer.listen(path, (connection) => {
    connections.push(connection);
    connection.send({ type: "welcome", protocol: 1, version: "test", pid: process.pid, backends: [] });
    return { message: (message) => void seen.push(message), ended: () => Promise.resolve(resolve()) };
  });
  servers.push(server);
  return { server, seen, connections, ended };
}

async function client(): Promise<{ socket: Socket; lines: AsyncIterator<string> }> {
  const socket = connect(path);
  await once(socket, "connect");
  return { socket, lines: createInterface({ input: socket })[Symbol.asyncIterator]() };
}

const next = async (lines: AsyncIterator<string>): Promise<unknown> =>
  JSON.parse((await lines.next()).value as string);

test("the socket is the user's alone", async () => {
  await listen();
  expect(statSync(path).mode & 0o777).toBe(0o600);
  const own = runtimeFolder({ XDG_RUNTIME_DIR: folder });
  expect(own).toBe(join(folder, "cyxcloud"));
  expect(statSync(own).mode & 0o777).toBe(0o700);
});

test("a folder that others may enter is refused", () => {
  mkdirSync(join(folder, "cyxcloud"), { mode: 0o755 });
  expect(() => runtimeFolder({ XDG_RUNTIME_DIR: folder })).toThrow(/0700/);
});

test("a welcome goes out first, and messages come in whole however they are cut", async () => {
  const { seen, ended } = await listen();
  const { socket, lines } = await client();
  expect(await next(lines)).toMatchObject({ type: "welcome", protocol: 1 });
  const release = `{"type":"release","lease":1,"slot":0}\n`;
  for (const byte of Buffer.from(`{"type":"paths","lease":3,"new member":1}\n${release}`))
    socket.write(Uint8Array.of(byte));
  socket.end(`{"type":"close"}\n`);
  await ended;
  expect(seen.map((message) => message.type)).toEqual(["paths", "release", "close"]);
});

test.each([
  ["no JSON", "{\n", /message: is no JSON/],
  ["an unknown type", `{"type":"hello"}\n`, /type/],
  ["a wrong member", `{"type":"release","lease":"one","slot":0}\n`, /lease/],
  ["no UTF-8", Buffer.from([0xff, 10]), /UTF-8/],
  ["a line without end", Buffer.alloc(HANDOFF_LINE_MAX_BYTES + 1, 32), /at most/],
])("%s ends the connection with a reason", async (_, line, reason) => {
  const { seen, ended } = await listen();
  const { socket, lines } = await client();
  await next(lines);
  socket.write(line);
  expect(await next(lines)).toMatchObject({
    type: "error",
    code: "invalid_argument",
    message: expect.stringMatching(reason) as string,
  });
  await ended;
  expect(seen).toEqual([]);
});

test("what is refused is not repeated: it may be a token", () => {
  const line = JSON.stringify({ type: "open", dataset: "d", access_token: ["eyJsecret"], batch_size: 1 });
  const error = ((): unknown => {
    try {
      return parseClientMessage(line);
    } catch (thrown) {
      return thrown;
    }
  })();
  expect(error).toMatchObject({ code: "invalid_argument", details: { field: "access_token" } });
  expect(String(error)).not.toContain("eyJ");
});

test("lines come out as they went in, whatever the pieces", () => {
  const texts = fc.array(
    fc.string({ unit: "grapheme", maxLength: 40 }).map((text) => text.replaceAll("\n", "")),
  );
  fc.assert(
    fc.property(texts, fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1 }), (lines, sizes) => {
      const bytes = Buffer.from(lines.map((line) => `${line}\n`).join(""));
      const reader = new LineReader();
      const out: string[] = [];
      for (let at = 0, turn = 0; at < bytes.length; turn++) {
        const size = sizes[turn % sizes.length] as number;
        out.push(...reader.push(Buffer.from(bytes.subarray(at, at + size))));
        at += size;
      }
      expect(out).toEqual(lines.map((line) => line.toWellFormed()));
    }),
  );
});

test("the death of a client is told once", async () => {
  const { connections, ended, server } = await listen();
  const { socket, lines } = await client();
  await next(lines);
  socket.destroy();
  await ended;
  expect(server.connections).toBe(0);
  connections[0]?.send({ type: "end" });
});

test("a socket that a dead companion left is replaced; that of a living one is not", async () => {
  // What a killed process leaves: the file, and nobody behind it.
  const dead = createServer().listen(join(folder, "other.sock"));
  await once(dead, "listening");
  renameSync(join(folder, "other.sock"), path);
  await new Promise((resolve) => dead.close(resolve));
  expect(existsSync(path)).toBe(true);

  const { server } = await listen();
  await expect(listen()).rejects.toMatchObject({ code: "already_exists" });
  await server.close();
  expect(existsSync(path)).toBe(false);
});

test("what is no socket is left alone, and a path that is too long is named", async () => {
  writeFileSync(path, "precious");
  await expect(listen()).rejects.toThrow(/is no socket/);
  path = join(folder, `${"x".repeat(120)}.sock`);
  await expect(listen()).rejects.toThrow(/107 bytes/);
});
