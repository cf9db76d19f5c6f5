/** From a gateway's messages to the trainer's device: verified, decoded, copied, announced, released. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import type { BackendName, ConsumerDevice } from "../../../companion/device/backend.ts";
import { Backends } from "../../../companion/device/backends.ts";
import { Pipeline } from "../../../companion/pipeline/pipeline.ts";
import { WorkerPool } from "../../../companion/workers/pool.ts";
import type { Blake3 } from "../../../core/ports.ts";
import { loadKernels } from "../../../kernels/index.ts";
import { images, pixelsOf, setUp } from "../doubles.ts";
import { compileMock, Consumer, NOTHING, TOOLS, type MockDriver } from "./mock.ts";

describe.skipIf(TOOLS === undefined)("on a mock driver (needs gcc and python3)", () => {
  let mock: MockDriver;
  let blake3: Blake3;
  let workers: WorkerPool;
  let consumer: Consumer;
  let backends: Backends;
  beforeAll(async () => {
    mock = compileMock();
    ({ blake3 } = await loadKernels({ heapBytes: 1 << 20 }));
    workers = new WorkerPool(2);
  });
  afterEach(async () => {
    await consumer.kill();
    await backends.close();
  });
  afterAll(async () => {
    await workers.close();
    mock.remove();
  });

  /** Opens a stream whose batches go to the consumer's device. */
  async function open(
    wanted: BackendName,
    slots: number,
  ): Promise<{ pipeline: Pipeline; held: () => number }> {
    consumer = new Consumer(mock);
    backends = await Backends.open({ CYXCLOUD_LIBCUDA: mock.path });
    const { client, source } = setUp(images(60), blake3);
    const device = await consumer.call<ConsumerDevice>("detect");
    const { backend } = await backends.choose(wanted, device);
    const stream = { dataset: "letters", batchSize: 4, shuffle: true } as const;
    const context = await client.openStream(stream);
    const pipeline = await Pipeline.open({
      context,
      stream,
      source,
      workers,
      backend,
      consumer: device,
      slots,
    });
    const ring = pipeline.ring as NonNullable<Pipeline["ring"]>;
    const { handles } = await consumer.call<{ handles: string[] }>("attach", {
      ...ring.attachment,
      slots,
      slot_bytes: ring.slotBytes,
      backend: wanted,
    });
    await pipeline.attach(handles);
    return { pipeline, held: () => source.held };
  }

  test.each<BackendName>(["cuda-ipc", "cuda-hostreg"])(
    "%s: every tensor is right on the device",
    async (wanted) => {
      const { pipeline } = await open(wanted, 3);
      let items = 0;
      for await (const { lease, tensors, batch } of pipeline.batches()) {
        const data = tensors.find(({ name }) => name === "data");
        const length = (data?.offset ?? 0) + batch.paths.length * 16;
        const taken = Buffer.from(
          await consumer.call<string>("take", { slot: lease.index, length }),
          "base64",
        );
        for (const [i, path] of batch.paths.entries()) {
          const begin = (data?.offset ?? 0) + i * 16;
          const number = Number(/(\d+)\.png/.exec(path)?.[1]);
          expect([...taken.subarray(begin, begin + 16)]).toEqual([...pixelsOf(number)]);
          items++;
        }
        pipeline.release(lease.number, lease.index);
      }
      expect(items).toBe(60);
      await pipeline.close();
      expect(mock.live()).toEqual(NOTHING);
      expect(await consumer.end()).toEqual(NOTHING);
    },
  );

  test("a trainer that dies while it holds slots, and others are decoded and copied, leaves nothing", async () => {
    const { pipeline, held } = await open("cuda-ipc", 4);
    const batches = pipeline.batches();
    await batches.next();
    await batches.next();
    await consumer.kill();
    await pipeline.close();
    expect(held()).toBe(0);
    expect(mock.live()).toEqual(NOTHING);
  });
});
