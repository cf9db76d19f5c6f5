/**
 * Where batches are put for the training loop. A ring is a fixed number of equal slots in host memory, into which
 * batches are decoded; a backend decides what memory that is and how a slot gets to the consumer.
 *
 * | backend | the consumer | a batch goes |
 * |---|---|---|
 * | `host` | this process | nowhere |
 * | `shm` | another process, on the host | nowhere: both map the same file |
 * | `cuda-hostreg` | another process, on its device | from its own registration of that file, by its own copy |
 * | `cuda-ipc` | another process, on its device | by our copy into device memory that the consumer exported |
 */
import { invalidArgument } from "../../core/errors.ts";
import {
  DEVICE_SLOT_ALIGNMENT_BYTES,
  RING_MAX_BYTES,
  SLOT_ALIGNMENT_BYTES,
  SLOTS_MAX,
} from "../../core/limits.ts";
import type { MemoryReference } from "../memory/reference.ts";

export type BackendName = "host" | "shm" | "cuda-hostreg" | "cuda-ipc";

export interface RingOptions {
  readonly slots: number;
  /** A multiple of 4096; of 2 MiB for a device. `slotBytesFor` rounds up. */
  readonly slotBytes: number;
}

/** The device that a consumer in another process trains on, as it describes itself. */
export interface ConsumerDevice {
  /** "GPU-" and a UUID: ordinals differ between processes. */
  readonly uuid: string;
  readonly pid: number;
  /** Whether it could export device memory. */
  readonly ipc: boolean;
  /** An exported handle (base64) that may be opened to see whether this process can: the only sure sign. */
  readonly probe?: string;
}

export interface Ring {
  /** slots × slotBytes. */
  readonly memory: MemoryReference;
  readonly slotBytes: number;
  readonly slots: number;
  /** What a consumer in another process needs to attach; undefined for `host`. */
  readonly attachment: { readonly path: string; readonly size: number } | undefined;
  /**
   * The consumer has mapped the ring, and exported its device slots (base64, one a slot) where the backend copies into
   * them: removes the file's name, opens the handles.
   */
  attached(answer: { readonly handles?: readonly string[] }): Promise<void>;
  /**
   * Makes the first `byteLength` bytes of a slot visible to the consumer: resolves when the batch may be announced.
   * The slot must not change before that. Copies of different slots overlap with each other and with decoding.
   */
  publish(slot: number, byteLength: number): Promise<void>;
  /**
   * Gives everything back, after waiting for copies under way; idempotent, and also right when the consumer died. No
   * thread may touch the ring's memory afterwards, so work on its slots has to end first (`Slots.close`).
   */
  close(): Promise<void>;
}

export interface DeviceBackend {
  readonly name: BackendName;
  /**
   * @throws `resource_exhausted` where the memory is not to be had: the message says what to do.
   * @throws `failed_precondition` for a device that this process cannot reach.
   */
  createRing(options: RingOptions, consumer?: ConsumerDevice): Promise<Ring>;
  /** Closes what its rings shared. Rings must be closed before. */
  close(): Promise<void>;
}

/** The bytes of a slot that holds `byteLength` bytes: rounded up to what the backend can address. */
export function slotBytesFor(name: BackendName, byteLength: number): number {
  const unit = alignmentOf(name);
  return Math.max(1, Math.ceil(byteLength / unit)) * unit;
}

/** @throws `invalid_argument` naming `slots` or `slotBytes`. */
export function checkRingOptions(name: BackendName, { slots, slotBytes }: RingOptions): void {
  if (!Number.isInteger(slots) || slots < 1 || slots > SLOTS_MAX)
    throw invalidArgument("slots", `must be a whole number from 1 to ${SLOTS_MAX}.`, { limit: SLOTS_MAX });
  const unit = alignmentOf(name);
  if (!Number.isSafeInteger(slotBytes) || slotBytes < unit || slotBytes % unit !== 0)
    throw invalidArgument("slotBytes", `must be a multiple of ${unit} for ${name}.`, { limit: unit });
  if (slots * slotBytes > RING_MAX_BYTES) {
    throw invalidArgument(
      "slotBytes",
      `${slots} slots of ${slotBytes} bytes are above ${RING_MAX_BYTES} bytes: ask for fewer slots or a smaller batch.`,
      { limit: RING_MAX_BYTES },
    );
  }
}

function alignmentOf(name: BackendName): number {
  return name.startsWith("cuda") ? DEVICE_SLOT_ALIGNMENT_BYTES : SLOT_ALIGNMENT_BYTES;
}
