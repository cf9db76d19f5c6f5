import type { DeviceBackend, Ring, RingOptions } from "./backend.ts";
import { checkRingOptions } from "./backend.ts";

/** Ordinary memory that the threads of this process share: for a consumer in the same process. */
export const hostBackend: DeviceBackend = {
  name: "host",
  createRing(options: RingOptions): Promise<Ring> {
    checkRingOptions("host", options);
    const { slots, slotBytes } = options;
    const byteLength = slots * slotBytes;
    return Promise.resolve({
      memory: { kind: "shared", buffer: new SharedArrayBuffer(byteLength), byteOffset: 0, byteLength },
      slotBytes,
      slots,
      attachment: undefined,
      attached: () => Promise.resolve(),
      publish: () => Promise.resolve(),
      close: () => Promise.resolve(),
    });
  },
  close: () => Promise.resolve(),
};
