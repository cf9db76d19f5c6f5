/** A companion reduced to one ring and one batch, as a process of its own that a test can kill. */
import type { ConsumerDevice } from "../../../companion/device/backend.ts";
import { CudaIpcBackend } from "../../../companion/device/cuda/backend.ts";
import { viewOf } from "../../../companion/memory/reference.ts";

const SLOT = 2 * 1024 * 1024;
const [library, device] = process.argv.slice(2) as [string, string];
const backend = new CudaIpcBackend(library);
const ring = await backend.createRing({ slots: 1, slotBytes: SLOT }, JSON.parse(device) as ConsumerDevice);
process.send?.(ring.attachment);
process.on("message", (answer: { handles: string[] }) => {
  void (async () => {
    await ring.attached(answer);
    viewOf(ring.memory).fill(77);
    await ring.publish(0, SLOT);
    process.send?.("announced");
  })();
});
