/** What a missing wait does. Each test that is right with the wait must be wrong without it, or it would prove nothing. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import type { ConsumerDevice } from "../../../companion/device/backend.ts";
import { loadDriver, type CudaDriver } from "../../../companion/device/cuda/driver.ts";
import { CudaEngine } from "../../../companion/device/cuda/engine.ts";
import { sharedBackend } from "../../../companion/device/shared.ts";
import { createMappedFile } from "../../../companion/memory/mapped-file.ts";
import { viewOf } from "../../../companion/memory/reference.ts";
import { compileMock, Consumer, NOTHING, TOOLS, type MockDriver } from "./mock.ts";

const SLOT = 2 * 1024 * 1024;
/** Announced bytes: few, so that the consumer is at the last one before a delayed copy is. */
const LENGTH = 64 * 1024;
const SLOTS = 4;
const BATCHES = 200;

describe.skipIf(TOOLS === undefined)("on a mock driver (needs gcc and python3)", () => {
  let mock: MockDriver;
  let consumer: Consumer;
  beforeAll(() => {
    mock = compileMock();
  });
  afterEach(() => consumer.kill());
  afterAll(() => mock.remove());

  describe("cuda-ipc", () => {
    /** Batches of which the consumer saw a wrong byte. */
    async function wrongBatches(driver: CudaDriver): Promise<number> {
      consumer = new Consumer(mock);
      const { uuid } = await consumer.call<ConsumerDevice>("detect");
      const file = await createMappedFile(SLOTS * SLOT, "4 slots");
      const engine = new CudaEngine(driver);
      engine.open(1, { uuid, address: file.memory.address, slots: SLOTS, slotBytes: SLOT });
      const { path } = file;
      const parameters = { path, size: SLOTS * SLOT, slots: SLOTS, slot_bytes: SLOT, backend: "cuda-ipc" };
      const { handles } = await consumer.call<{ handles: string[] }>("attach", parameters);
      engine.attach(
        1,
        handles.map((handle) => Buffer.from(handle, "base64")),
      );
      let wrong = 0;
      for (let batch = 0; batch < BATCHES; batch++) {
        const slot = batch % SLOTS;
        viewOf(file.memory).fill(batch % 251, slot * SLOT, slot * SLOT + LENGTH);
        engine.submit(batch, 1, slot, LENGTH);
        expect(engine.completeOldest()).toEqual({ copy: batch, error: undefined });
        const bad = await consumer.call<number>("check", { slot, number: batch, length: LENGTH });
        if (bad > 0) wrong++;
      }
      engine.close(1);
      file.close();
      expect(await consumer.end()).toEqual(NOTHING);
      expect(mock.live()).toEqual(NOTHING);
      return wrong;
    }

    test(`with the wait for the event none of ${BATCHES} batches is wrong`, async () => {
      expect(await wrongBatches(loadDriver(mock.path))).toBe(0);
    });

    test("without it all but the first are, which is what memory holds at first", async () => {
      const driver = { ...loadDriver(mock.path), synchronizeEvent: () => undefined };
      process.env["CYXCLOUD_MOCK_CUDA_DELAY_US"] = "unwanted";
      const wrong = await wrongBatches(driver);
      delete process.env["CYXCLOUD_MOCK_CUDA_DELAY_US"];
      expect(wrong).toBe(BATCHES - 1);
    });
  });

  describe("cuda-hostreg", () => {
    async function attach(environment: Readonly<Record<string, string>> = {}): Promise<() => Promise<void>> {
      consumer = new Consumer(mock, environment);
      const ring = await sharedBackend("cuda-hostreg").createRing({ slots: SLOTS, slotBytes: SLOT });
      const { path, size } = ring.attachment ?? { path: "", size: 0 };
      const parameters = { path, size, slots: SLOTS, slot_bytes: SLOT, backend: "cuda-hostreg" };
      const { pinned } = await consumer.call<{ pinned: boolean }>("attach", parameters);
      expect(pinned).toBe(environment["CYXCLOUD_MOCK_CUDA_FAIL"] === undefined);
      await ring.attached({});
      fill = (slot, batch) => viewOf(ring.memory).fill(batch % 251, slot * SLOT, slot * SLOT + LENGTH);
      return () => ring.close();
    }
    let fill: (slot: number, batch: number) => void;

    async function wrongBatches(): Promise<number> {
      let wrong = 0;
      for (let batch = 0; batch < BATCHES; batch++) {
        const slot = batch % SLOTS;
        fill(slot, batch);
        const bad = await consumer.call<number>("check", { slot, number: batch, length: LENGTH });
        if (bad > 0) wrong++;
      }
      return wrong;
    }

    test(`a stream that waits for the copy sees none of ${BATCHES} batches wrong`, async () => {
      const close = await attach();
      expect(await wrongBatches()).toBe(0);
      expect(await consumer.call("unpinned")).toBe(0);
      await close();
      expect(await consumer.end()).toEqual(NOTHING);
    });

    test("one that does not sees all wrong but the first", async () => {
      const close = await attach({ CYXCLOUD_MOCK_CUDA_DELAY_US: "unwanted" });
      await consumer.call("leave_out", { name: "cuStreamWaitEvent" });
      expect(await wrongBatches()).toBe(BATCHES - 1);
      await close();
    });

    test("where the driver refuses to register the ring, copies are slower, and as right", async () => {
      const close = await attach({ CYXCLOUD_MOCK_CUDA_FAIL: "cuMemHostRegister_v2=801" });
      expect(await wrongBatches()).toBe(0);
      expect(await consumer.call("unpinned")).toBe(BATCHES);
      await close();
      expect(await consumer.end()).toEqual(NOTHING);
    });

    test("rings of the trainer come and go 1,000 times without leaving anything", async () => {
      consumer = new Consumer(mock, { CYXCLOUD_MOCK_CUDA_DELAY_US: "0" });
      const ring = await sharedBackend("cuda-hostreg").createRing({ slots: 1, slotBytes: SLOT });
      const { path, size } = ring.attachment ?? { path: "", size: 0 };
      const cycles = { path, size, slots: 1, slot_bytes: SLOT, times: 1000 };
      expect(await consumer.call("cycle", cycles)).toEqual(NOTHING);
      await ring.close();
    });

    test("a slot that is filled again only after the fence is read right by work under way", async () => {
      const close = await attach({ CYXCLOUD_MOCK_CUDA_READ_DELAY_US: "unwanted" });
      const reading = { slot: 1, number: 1, length: LENGTH, batches: 50 };
      expect(await consumer.call("slow_reader", { ...reading, fenced: true })).toBe(0);
      expect(await consumer.call("slow_reader", { ...reading, fenced: false })).toBe(50);
      await close();
      expect(await consumer.end()).toEqual(NOTHING);
    });

    test("a slot goes back when the stream is through that was current as the last tensor went", async () => {
      const close = await attach({ CYXCLOUD_MOCK_CUDA_READ_DELAY_US: "unwanted" });
      const reading = { slot: 1, number: 1, length: LENGTH, batches: 50 };
      expect(await consumer.call("lent_reader", { ...reading, told: true })).toBe(0);
      expect(await consumer.call("lent_reader", { ...reading, told: false })).toBe(50);
      await close();
      expect(await consumer.end()).toEqual(NOTHING);
    });
  });
});
