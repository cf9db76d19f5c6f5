import { fork } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { ConsumerDevice, Ring } from "../../../companion/device/backend.ts";
import { CudaIpcBackend } from "../../../companion/device/cuda/backend.ts";
import { viewOf } from "../../../companion/memory/reference.ts";
import { compileMock, Consumer, NOTHING, TOOLS, type MockDriver } from "./mock.ts";

const SLOT = 2 * 1024 * 1024;
const BATCHES = 200;

describe.skipIf(TOOLS === undefined)("cuda-ipc on a mock driver (needs gcc and python3)", () => {
  let mock: MockDriver;
  let backend: CudaIpcBackend;
  const consumers: Consumer[] = [];
  beforeAll(() => {
    mock = compileMock();
  });
  beforeEach(() => {
    backend = new CudaIpcBackend(mock.path);
  });
  afterEach(async () => {
    mock.fail({});
    await Promise.all(consumers.splice(0).map((consumer) => consumer.kill()));
    await backend.close();
  });
  afterAll(() => mock.remove());

  function consume(environment: Readonly<Record<string, string>> = {}): Consumer {
    const consumer = new Consumer(mock, environment);
    consumers.push(consumer);
    return consumer;
  }

  async function attach(consumer: Consumer, slots: number, ordinal = 0): Promise<Ring> {
    const device = await consumer.call<ConsumerDevice>("detect", { ordinal });
    const ring = await backend.createRing({ slots, slotBytes: SLOT }, device);
    const { path, size } = ring.attachment ?? { path: "", size: 0 };
    const parameters = { path, size, slots, slot_bytes: SLOT, backend: "cuda-ipc", ordinal };
    const { handles } = await consumer.call<{ handles: string[] }>("attach", parameters);
    await ring.attached({ handles });
    return ring;
  }

  function fill(ring: Ring, slot: number, batch: number): void {
    viewOf(ring.memory).fill(batch % 251, slot * SLOT, (slot + 1) * SLOT);
  }

  test(`no byte of ${BATCHES} batches is wrong when it is announced, and copies overlap with filling`, async () => {
    const consumer = consume();
    const ring = await attach(consumer, 4);
    let wrong = 0;
    const announced: Promise<void>[] = [];
    for (let batch = 0; batch < BATCHES; batch++) {
      const slot = batch % 4;
      // Three others are being copied or filled while this one is.
      await announced[batch - 4];
      fill(ring, slot, batch);
      const previous = announced[batch - 1];
      const announce = async (): Promise<void> => {
        await ring.publish(slot, SLOT);
        await previous;
        wrong += await consumer.call<number>("check", { slot, number: batch, length: SLOT });
      };
      announced.push(announce());
    }
    await Promise.all(announced);
    expect(wrong).toBe(0);
    await ring.close();
    expect(mock.live()).toEqual(NOTHING);
    expect(await consumer.end()).toEqual(NOTHING);
  });

  test("only what was published is copied", async () => {
    const consumer = consume();
    const ring = await attach(consumer, 2);
    fill(ring, 1, 7);
    await ring.publish(1, 100);
    const bytes = Buffer.from(await consumer.call<string>("take", { slot: 1, length: 200 }), "base64");
    expect([...bytes]).toEqual([...Array<number>(100).fill(7), ...Array<number>(100).fill(0)]);
    await ring.close();
  });

  test("the device is found by its UUID, whatever its number is in either process", async () => {
    const consumer = consume({ CYXCLOUD_MOCK_CUDA_ORDER: "reversed" });
    // The mock refuses a handle in a context of another device.
    const ring = await attach(consumer, 1, 1);
    fill(ring, 0, 3);
    await ring.publish(0, SLOT);
    expect(await consumer.call("check", { slot: 0, number: 3, length: SLOT })).toBe(0);
    await ring.close();
    expect(mock.live()).toEqual(NOTHING);
  });

  test("memory of the consumer outlives ring and companion, until its last tensor goes", async () => {
    const consumer = consume();
    const ring = await attach(consumer, 2);
    fill(ring, 0, 9);
    await ring.publish(0, SLOT);
    expect(await consumer.call("keep", { slot: 0, length: SLOT })).toBe(0);
    await ring.close();
    await consumer.call("close");
    expect(await consumer.call("live")).toMatchObject({ allocations: 1, registrations: 0 });
    expect(await consumer.call("drop")).toEqual(NOTHING);
  });

  test("a companion that is killed takes nothing from its consumer, which goes on with the next one", async () => {
    const consumer = consume();
    const device = await consumer.call<ConsumerDevice>("detect");
    const killed = fork(
      new URL("companion.worker.ts", import.meta.url),
      [mock.path, JSON.stringify(device)],
      {
        execArgv: [],
      },
    );
    const [attachment] = (await once(killed, "message")) as [{ path: string; size: number }];
    const parameters = { ...attachment, slots: 1, slot_bytes: SLOT, backend: "cuda-ipc" };
    killed.send(await consumer.call<{ handles: string[] }>("attach", parameters));
    expect((await once(killed, "message"))[0]).toBe("announced");
    killed.kill("SIGKILL");
    await once(killed, "exit");
    expect(existsSync(attachment.path)).toBe(false);
    expect(await consumer.call("check", { slot: 0, number: 77, length: SLOT })).toBe(0);
    await consumer.call("close");

    const ring = await attach(consumer, 1);
    fill(ring, 0, 78);
    await ring.publish(0, SLOT);
    expect(await consumer.call("check", { slot: 0, number: 78, length: SLOT })).toBe(0);
    await ring.close();
    expect(await consumer.end()).toEqual(NOTHING);
  });

  describe("a consumer that dies", () => {
    test.each([
      ["before it attaches", 0],
      ["with copies under way", 3],
    ])("%s leaves nothing open here", async (_when, copies) => {
      const consumer = consume();
      const device = await consumer.call<ConsumerDevice>("detect");
      const ring =
        copies === 0
          ? await backend.createRing({ slots: 3, slotBytes: SLOT }, device)
          : await attach(consumer, 3);
      const publishing = Array.from({ length: copies }, (_, slot) => ring.publish(slot, SLOT));
      await consumer.kill();
      await ring.close();
      await Promise.all(publishing);
      expect(mock.live()).toEqual(NOTHING);
    });

    test("1,000 times leaves no handle, registration, stream, event, context, mapping or file", async () => {
      // The exporter stays, so that its handles can be opened; what dies a thousand times is our side of it.
      const consumer = consume({ CYXCLOUD_MOCK_CUDA_DELAY_US: "0" });
      const device = await consumer.call<ConsumerDevice>("detect");
      const first = await backend.createRing({ slots: 2, slotBytes: SLOT }, device);
      const { path, size } = first.attachment ?? { path: "", size: 0 };
      const parameters = { path, size, slots: 2, slot_bytes: SLOT, backend: "cuda-ipc" };
      const { handles } = await consumer.call<{ handles: string[] }>("attach", parameters);
      await first.close();
      const count = (): readonly number[] => [
        readdirSync("/proc/self/fd").length,
        readFileSync("/proc/self/maps", "utf8")
          .split("\n")
          .filter((line) => line.includes("/cyxcloud-")).length,
        readdirSync("/dev/shm").filter((name) => name.includes(`-${process.pid}-`)).length,
      ];
      process.env["CYXCLOUD_MOCK_CUDA_DELAY_US"] = "0";
      const before = count();
      for (let i = 0; i < 1000; i++) {
        const ring = await backend.createRing({ slots: 2, slotBytes: SLOT }, device);
        if (i % 3 > 0) await ring.attached({ handles });
        const publishing = i % 3 === 2 ? [ring.publish(0, SLOT), ring.publish(1, 4096)] : [];
        await Promise.all([ring.close(), ...publishing]);
      }
      delete process.env["CYXCLOUD_MOCK_CUDA_DELAY_US"];
      expect(count()).toEqual(before);
      expect(mock.live()).toEqual(NOTHING);
    });
  });

  describe("what the driver refuses", () => {
    const CALLS = [
      "cuDeviceGetUuid_v2",
      "cuDevicePrimaryCtxRetain",
      "cuCtxSetCurrent",
      "cuMemHostRegister_v2",
      "cuStreamCreate",
      "cuEventCreate",
      "cuIpcOpenMemHandle_v2",
      "cuMemcpyHtoDAsync_v2",
      "cuEventRecord",
      "cuEventSynchronize",
    ];
    test.each(CALLS)("%s is named, and nothing is left behind", async (call) => {
      const consumer = consume();
      const device = await consumer.call<ConsumerDevice>("detect");
      const failed = (async () => {
        const ring = await backend.createRing({ slots: 2, slotBytes: SLOT }, device);
        try {
          const { path, size } = ring.attachment ?? { path: "", size: 0 };
          const parameters = { path, size, slots: 2, slot_bytes: SLOT, backend: "cuda-ipc" };
          const { handles } = await consumer.call<{ handles: string[] }>("attach", parameters);
          mock.fail({ [call]: 801 });
          await ring.attached({ handles });
          await ring.publish(0, SLOT);
          // What only making a ring calls.
          await (await backend.createRing({ slots: 2, slotBytes: SLOT }, device)).close();
        } finally {
          mock.fail({});
          await ring.close();
        }
      })();
      await expect(failed).rejects.toMatchObject({
        code: "failed_precondition",
        message: expect.stringContaining(`${call}: CUDA_ERROR_NOT_SUPPORTED`) as string,
        details: { cuda: "CUDA_ERROR_NOT_SUPPORTED" },
      });
      expect(mock.live()).toEqual(NOTHING);
      expect(await consumer.end()).toEqual(NOTHING);
    });

    test("memory that is spent says so", async () => {
      const device = await consume().call<ConsumerDevice>("detect");
      mock.fail({ cuMemHostRegister_v2: 2 });
      await expect(backend.createRing({ slots: 2, slotBytes: SLOT }, device)).rejects.toMatchObject({
        code: "resource_exhausted",
        message: "CUDA: cuMemHostRegister_v2: CUDA_ERROR_OUT_OF_MEMORY.",
      });
    });

    test("a handle that is cut, altered, missing, or of an exporter that died opens nothing", async () => {
      const consumer = consume();
      const ring = await attach(consumer, 1);
      await ring.close();
      const device = await consumer.call<ConsumerDevice>("detect");
      const good = device.probe ?? "";
      const altered = Buffer.from(good, "base64");
      altered[9] = (altered[9] ?? 0) ^ 1;
      const again = await backend.createRing({ slots: 1, slotBytes: SLOT }, device);
      await expect(again.attached({})).rejects.toThrow("handles");
      await expect(again.attached({ handles: [good.slice(4)] })).rejects.toThrow("64 bytes");
      await expect(again.attached({ handles: [altered.toString("base64")] })).rejects.toThrow(
        "CUDA_ERROR_INVALID_VALUE",
      );
      await expect(again.publish(0, SLOT)).rejects.toThrow("no device memory");
      await consumer.kill();
      await expect(again.attached({ handles: [good] })).rejects.toThrow("CUDA_ERROR_MAP_FAILED");
      await again.close();
      expect(mock.live()).toEqual(NOTHING);
    });
  });
});
