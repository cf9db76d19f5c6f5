/** What a session does when its client is slow, confused or gone, with a host that only pretends. */
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { HandoffServer } from "../../../companion/handoff/server.ts";
import { HandoffSession, type OpenedStream, type SessionHost } from "../../../companion/handoff/session.ts";
import type { Pipeline } from "../../../companion/pipeline/pipeline.ts";
import { DataStreamError } from "../../../core/errors.ts";
import { HANDOFF_ATTACH_MS } from "../../../core/limits.ts";

let folder: string;
let server: HandoffServer;
let session: HandoffSession;
/** What the pretended stream was asked to do. */
let calls: string[];
let open: SessionHost["open"];
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "cyxcloud-session-"));
  calls = [];
  open = () => Promise.resolve(pretended());
  const host: SessionHost = {
    version: "test",
    backends: [],
    open: (...call) => open(...call),
    describe: () => Promise.reject(new Error("with a secret: eyJ")),
  };
  server = await HandoffServer.listen(join(folder, "s.sock"), (connection) => {
    session = new HandoffSession(connection, host);
    return session;
  });
});
afterEach(async () => {
  vi.useRealTimers();
  await server.close();
  rmSync(folder, { recursive: true });
});

function pretended(more: Partial<Pipeline> = {}): OpenedStream {
  const pipeline = {
    ring: { attachment: { path: "/dev/shm/none", size: 4096 }, slots: 1, slotBytes: 4096 },
    attach: () => Promise.resolve(),
    // A stream of nothing.
    batches: async function* () {},
    close: () => (calls.push("close"), Promise.resolve()),
    ...more,
  } as unknown as Pipeline;
  return {
    pipeline,
    description: {} as OpenedStream["description"],
    streamId: "s",
    backend: "shm",
    consumer: { worked: () => undefined, dataReady: () => undefined, holds: () => undefined },
    failed: (error) => void calls.push(`failed ${(error as DataStreamError).code}`),
    closed: () => void calls.push("closed"),
  };
}

async function client(): Promise<{
  socket: Socket;
  next: () => Promise<Record<string, unknown> | undefined>;
}> {
  const socket = connect(server.path);
  await once(socket, "connect");
  const lines = createInterface({ input: socket })[Symbol.asyncIterator]();
  const next = async (): Promise<Record<string, unknown> | undefined> => {
    const line = await lines.next();
    return line.done === true ? undefined : (JSON.parse(line.value) as Record<string, unknown>);
  };
  expect(await next()).toMatchObject({ type: "welcome" });
  return { socket, next };
}

const OPEN = `${JSON.stringify({ type: "open", dataset: "d", access_token: "t", batch_size: 1 })}\n`;

test("a client that does not attach in time is told, and its stream closed", async () => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  const { socket, next } = await client();
  socket.write(OPEN);
  expect(await next()).toMatchObject({ type: "opened" });
  vi.advanceTimersByTime(HANDOFF_ATTACH_MS - 1);
  expect(calls).toEqual([]);
  vi.advanceTimersByTime(1);
  expect(await next()).toMatchObject({ type: "error", code: "aborted" });
  expect(await next()).toBeUndefined();
  socket.destroy();
  await session.closed;
  expect(calls).toEqual(["failed aborted", "close", "close", "closed"]);
});

test("a client that leaves while its stream opens leaves nothing open", async () => {
  const opening = Promise.withResolvers<OpenedStream>();
  const asked = Promise.withResolvers<AbortSignal>();
  open = (_, signal) => (asked.resolve(signal), opening.promise);
  const { socket } = await client();
  socket.write(OPEN);
  const signal = await asked.promise;
  socket.destroy();
  await once(signal, "abort");
  opening.resolve(pretended());
  await session.closed;
  expect(calls).toEqual(["close", "closed"]);
});

test("a stream that fails is told, and the connection ends when nothing is held", async () => {
  const failure = new DataStreamError("data_loss", "It differs.", { details: { subject: "item" } });
  open = () =>
    Promise.resolve(
      pretended({
        batches: () => ({ [Symbol.asyncIterator]: () => ({ next: () => Promise.reject(failure) }) }) as never,
      }),
    );
  const { socket, next } = await client();
  socket.write(OPEN);
  await next();
  socket.write(`{"type":"attached"}\n`);
  expect(await next()).toEqual({
    type: "error",
    code: "data_loss",
    message: "It differs.",
    details: { subject: "item" },
  });
  expect(await next()).toBeUndefined();
  socket.destroy();
  await session.closed;
  expect(calls).toEqual(["failed data_loss", "close", "close", "closed"]);
});

test.each([
  ["says so", (socket: Socket) => void socket.write(`{"type":"close"}\n`)],
  ["ends its side", (socket: Socket) => void socket.end()],
])("a client that %s sees the end when its stream has given everything back", async (_, leave) => {
  const closing = Promise.withResolvers<void>();
  const given = Promise.withResolvers<void>();
  open = () => Promise.resolve(pretended({ close: () => (closing.resolve(), given.promise) }));
  const { socket, next } = await client();
  const ended = once(socket, "end").then(() => calls.push("end"));
  socket.write(OPEN);
  await next();
  leave(socket);
  await closing.promise;
  // Whatever was sent is seen by now.
  (await client()).socket.destroy();
  expect(calls).toEqual([]);
  given.resolve();
  await ended;
  expect(calls).toEqual(["closed", "end"]);
});

test("a stream that cannot give everything back is told of, and its client sees the end all the same", async () => {
  const refused = new DataStreamError("failed_precondition", "CUDA: cuMemHostUnregister: it refuses.");
  open = () => Promise.resolve(pretended({ close: () => Promise.reject(refused) }));
  const { socket, next } = await client();
  socket.write(OPEN);
  await next();
  socket.end();
  expect(await next()).toBeUndefined();
  await session.closed;
  expect(calls).toEqual(["failed failed_precondition", "closed"]);
});

test("what failed inside is not shown", async () => {
  const { socket, next } = await client();
  socket.write(OPEN.replace("open", "describe"));
  const error = await next();
  expect(error).toMatchObject({ type: "error", code: "internal" });
  expect(JSON.stringify(error)).not.toContain("eyJ");
  socket.destroy();
});

test.each([
  ["attached before open", `{"type":"attached"}\n`],
  ["a release before open", `{"type":"release","lease":1,"slot":0}\n`],
  ["two opens at once", OPEN + OPEN],
  ["a description behind open", OPEN + OPEN.replace("open", "describe")],
])("%s is refused", async (_, lines) => {
  const { socket, next } = await client();
  socket.write(lines);
  let message = await next();
  if (message?.["type"] === "opened") message = await next();
  expect(message).toMatchObject({ type: "error", code: "invalid_argument" });
  expect(await next()).toBeUndefined();
  socket.destroy();
  await session.closed;
});
