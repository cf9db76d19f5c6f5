/**
 * Rings in a mapped file, for a consumer that maps it too. For `cuda-hostreg` it is the same, in larger units: the
 * consumer registers its mapping with its own driver and copies to its device from there, so this process needs no
 * driver, and no rights on the device.
 */
import prettyBytes from "pretty-bytes";
import { createMappedFile } from "../memory/mapped-file.ts";
import { checkRingOptions, type DeviceBackend, type Ring, type RingOptions } from "./backend.ts";

/** @param folder for the files: `/dev/shm`, unless named. */
export function sharedBackend(name: "shm" | "cuda-hostreg", folder?: string): DeviceBackend {
  return {
    name,
    async createRing(options): Promise<Ring> {
      checkRingOptions(name, options);
      const file = await createMappedFile(options.slots * options.slotBytes, purposeOf(options), folder);
      return {
        memory: file.memory,
        slotBytes: options.slotBytes,
        slots: options.slots,
        attachment: { path: file.path, size: file.memory.byteLength },
        attached: () => Promise.resolve(file.unlink()),
        // Both processes see the same pages.
        publish: () => Promise.resolve(),
        close: () => Promise.resolve(file.close()),
      };
    },
    close: () => Promise.resolve(),
  };
}

/** What needs the memory, for errors. */
export function purposeOf({ slots, slotBytes }: RingOptions): string {
  return `${slots} slots of ${prettyBytes(slotBytes, { binary: true })}`;
}
