import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import type { BackendName, ConsumerDevice } from "../../../companion/device/backend.ts";
import { Backends, type BackendEnvironment } from "../../../companion/device/backends.ts";
import { compileMock, Consumer, NOTHING, TOOLS, type MockDriver } from "../cuda/mock.ts";

const OTHER = { uuid: "GPU-00000000-0000-0000-0000-000000000000", pid: 1, ipc: true };
let backends: Backends;
afterEach(() => backends.close());

async function open(env: BackendEnvironment): Promise<Readonly<Record<string, string>>> {
  backends = await Backends.open(env);
  return Object.fromEntries(
    backends.probed.map(({ name, available, reason }) => [name, available ? "yes" : reason]),
  );
}

async function chosen(
  consumer?: ConsumerDevice,
  wanted: "auto" | BackendName = "auto",
): Promise<readonly [string, string]> {
  const { backend, reason } = await backends.choose(wanted, consumer);
  return [backend.name, reason];
}

describe("without a driver", () => {
  test("memory is shared, and the reason for it named", async () => {
    expect(await open({ CYXCLOUD_LIBCUDA: "/missing/libcuda.so" })).toEqual({
      "cuda-ipc": "/missing/libcuda.so is not installed",
      "cuda-hostreg": "yes",
      shm: "yes",
      host: "yes",
    });
    expect(await chosen()).toEqual(["shm", "shm: the trainer named no device"]);
  });

  test("the trainer's own may still copy", async () => {
    await open({ CYXCLOUD_LIBCUDA: "/missing/libcuda.so" });
    expect(await chosen(OTHER)).toEqual([
      "cuda-hostreg",
      "cuda-hostreg: the best that works; cuda-ipc does not work: /missing/libcuda.so is not installed",
    ]);
  });

  test("what is asked for and does not work is refused with the reason", async () => {
    await open({ CYXCLOUD_LIBCUDA: "/missing/libcuda.so" });
    await expect(chosen(OTHER, "cuda-ipc")).rejects.toMatchObject({
      code: "failed_precondition",
      message: "backend: cuda-ipc does not work here: /missing/libcuda.so is not installed.",
    });
    await expect(chosen(undefined, "cuda-hostreg")).rejects.toMatchObject({
      code: "invalid_argument",
      message: "device: is needed for cuda-hostreg.",
    });
    expect(await chosen(OTHER, "shm")).toEqual(["shm", "shm: asked for"]);
  });
});

describe.skipIf(TOOLS === undefined)("on a mock driver (needs gcc and python3)", () => {
  let mock: MockDriver;
  let consumer: Consumer | undefined;
  beforeAll(() => {
    mock = compileMock();
  });
  afterEach(async () => {
    mock.fail({});
    await consumer?.kill();
    consumer = undefined;
    expect(mock.live()).toEqual(NOTHING);
  });
  afterAll(() => mock.remove());

  async function device(environment: Readonly<Record<string, string>> = {}): Promise<ConsumerDevice> {
    consumer = new Consumer(mock, environment);
    return consumer.call<ConsumerDevice>("detect");
  }

  test("a trainer whose memory can be opened is copied to", async () => {
    const found = await open({ CYXCLOUD_LIBCUDA: mock.path });
    expect(found["cuda-ipc"]).toBe("yes");
    expect(backends.probed[0]?.reason).toContain("Mock device 0 (GPU-fe101010-1010-1010-1010-101010101010)");
    expect(await chosen(await device())).toEqual(["cuda-ipc", "cuda-ipc: the best that works"]);
    // One that sent nothing to try is believed.
    const { probe: _, ...unprobed } = await device();
    expect((await chosen(unprobed))[0]).toBe("cuda-ipc");
  });

  test.each<[string, (device: ConsumerDevice) => ConsumerDevice, string]>([
    ["of an equal process id", (it) => ({ ...it, pid: process.pid }), "both processes have the same id"],
    ["that cannot export", (it) => ({ ...it, ipc: false }), "the trainer could not export device memory"],
    [
      "on a device that is not here",
      (it) => ({ ...it, uuid: OTHER.uuid }),
      `device ${OTHER.uuid} is not among`,
    ],
    ["on one, with nothing to try", () => OTHER, `device ${OTHER.uuid} is not among`],
    [
      "that sends nonsense to try",
      (it) => ({ ...it, probe: "AAAA" }),
      "probe: must be base64 of 64 bytes each",
    ],
  ])("a trainer %s registers the ring itself", async (_case, change, reason) => {
    await open({ CYXCLOUD_LIBCUDA: mock.path });
    const [name, why] = await chosen(change(await device()));
    expect(name).toBe("cuda-hostreg");
    expect(why).toContain(`cuda-ipc does not work: ${reason}`);
  });

  test("so does one whose memory the driver refuses to open, as in another container", async () => {
    await open({ CYXCLOUD_LIBCUDA: mock.path });
    const refused = await device();
    mock.fail({ cuIpcOpenMemHandle_v2: 201 });
    const [name, reason] = await chosen(refused);
    expect(name).toBe("cuda-hostreg");
    expect(reason).toContain("cuIpcOpenMemHandle_v2: CUDA_ERROR_INVALID_CONTEXT");
  });

  test.each([
    ["cuInit", 100, "cuInit: CUDA_ERROR_NO_DEVICE"],
    ["cuDeviceGetCount", 3, "cuDeviceGetCount: CUDA_ERROR_NOT_INITIALIZED"],
    ["cuDeviceGetCount", 999, "cuDeviceGetCount: CUDA error 999"],
  ])("a driver whose %s answers %d is named so", async (call, code, reason) => {
    mock.fail({ [call]: code });
    expect((await open({ CYXCLOUD_LIBCUDA: mock.path }))["cuda-ipc"]).toBe(reason);
  });
});
