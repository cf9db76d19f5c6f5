/** The end of a stream, from the trainer's last word to its device memory: what is open in the companion must not be freed. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { ConsumerDevice } from "../../../companion/device/backend.ts";
import { Backends } from "../../../companion/device/backends.ts";
import { HandoffServer } from "../../../companion/handoff/server.ts";
import { HandoffSession, type OpenedStream, type SessionHost } from "../../../companion/handoff/session.ts";
import { Pipeline } from "../../../companion/pipeline/pipeline.ts";
import { describeStream } from "../../../companion/pipeline/request.ts";
import { WorkerPool } from "../../../companion/workers/pool.ts";
import type { Blake3 } from "../../../core/ports.ts";
import { loadKernels } from "../../../kernels/index.ts";
import { images, setUp } from "../doubles.ts";
import { compileMock, Consumer, NOTHING, TOOLS, type Live, type MockDriver } from "./mock.ts";

const STREAM = { dataset: "letters", batchSize: 4 } as const;

describe.skipIf(TOOLS === undefined)("on a mock driver (needs gcc and python3)", () => {
  let mock: MockDriver;
  let blake3: Blake3;
  let workers: WorkerPool;
  let folder: string;
  let backends: Backends;
  let server: HandoffServer;
  let session: HandoffSession;
  let consumer: Consumer;
  /** The companion begins to give back what it had of the trainer's. */
  let closing: PromiseWithResolvers<void>;
  /** And does so when this resolves. */
  let release: PromiseWithResolvers<void>;
  beforeAll(async () => {
    mock = compileMock();
    ({ blake3 } = await loadKernels({ heapBytes: 1 << 20 }));
    workers = new WorkerPool(1);
    folder = mkdtempSync(join(tmpdir(), "cyxcloud-closing-"));
  });
  beforeEach(async () => {
    closing = Promise.withResolvers();
    release = Promise.withResolvers();
    backends = await Backends.open({ CYXCLOUD_LIBCUDA: mock.path });
    const host = { version: "test", backends: [], open, describe: () => Promise.reject(new Error("unused")) };
    server = await HandoffServer.listen(join(folder, "socket"), (connection) => {
      session = new HandoffSession(connection, host);
      return session;
    });
    consumer = new Consumer(mock);
    await consumer.call("open_stream", { path: server.path });
    // A batch is there, and others are on their way to the device.
    expect(await consumer.call("next_batch")).toBe(0);
  });
  afterEach(async () => {
    release.resolve();
    await consumer.kill();
    await server.close();
    await backends.close();
    expect(mock.live()).toEqual(NOTHING);
  });
  afterAll(async () => {
    await workers.close();
    mock.remove();
    rmSync(folder, { recursive: true });
  });

  const open: SessionHost["open"] = async ({ device }, signal) => {
    const { client, source } = setUp(images(60), blake3);
    const consumerDevice = device as ConsumerDevice;
    const { backend } = await backends.choose("cuda-ipc", consumerDevice);
    const context = await client.openStream(STREAM);
    const stream = { ...STREAM, signal };
    const pipeline = await Pipeline.open({
      context,
      stream,
      source,
      workers,
      backend,
      consumer: consumerDevice,
    });
    const close = pipeline.close.bind(pipeline);
    pipeline.close = async () => {
      closing.resolve();
      await release.promise;
      await close();
    };
    const opened: OpenedStream = {
      pipeline,
      description: describeStream(context, STREAM),
      streamId: "s",
      backend: "cuda-ipc",
      consumer: { worked: () => undefined, dataReady: () => undefined, holds: () => undefined },
      failed: () => undefined,
      closed: () => undefined,
    };
    return opened;
  };

  test("a trainer that closes its stream frees its memory when the companion let go of it", async () => {
    const closed = consumer.call<Live>("close_stream");
    await closing.promise;
    release.resolve();
    expect(await closed).toEqual(NOTHING);
    await session.closed;
    expect(await consumer.end()).toEqual(NOTHING);
  });

  test("one that does not wait frees what is open, and the driver would not say so", async () => {
    const { violations } = await consumer.call<Live>("close_stream", { waits: false });
    expect(violations).toBeGreaterThan(0);
    release.resolve();
    await session.closed;
  });

  test("one that dies is not waited for", async () => {
    await consumer.kill();
    await closing.promise;
    release.resolve();
    await session.closed;
  });
});
