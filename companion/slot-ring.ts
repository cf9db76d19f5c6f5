import { DataStreamError } from "../core/errors.ts";
import type { DeviceBackend, DeviceBuffer } from "./device.ts";

/** A slot on loan. */
export interface Slot {
  readonly buffer: DeviceBuffer;
  /** Gives the slot back to the ring; a second call has no effect. */
  release(): void;
}

/** A fixed number of equal, reusable buffers; whoever wants one waits until one is free. */
export class SlotRing {
  readonly #free: DeviceBuffer[];
  readonly #waiting: { resolve: (slot: Slot) => void; reject: (error: DataStreamError) => void }[] = [];
  readonly #count: number;
  #closed = false;

  constructor(backend: DeviceBackend, count: number, byteLength: number) {
    this.#count = count;
    this.#free = Array.from({ length: count }, () => backend.allocate(byteLength));
  }

  /** Slots that are on loan now. */
  get held(): number {
    return this.#count - this.#free.length;
  }

  acquire(): Promise<Slot> {
    if (this.#closed) return Promise.reject(closedError());
    const buffer = this.#free.pop();
    if (buffer !== undefined) return Promise.resolve(this.#lend(buffer));
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
  }

  /** Fails whoever waits, and frees every slot as it comes back. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const waiter of this.#waiting.splice(0)) waiter.reject(closedError());
    for (const buffer of this.#free.splice(0)) buffer.free();
  }

  #lend(buffer: DeviceBuffer): Slot {
    let lent = true;
    return {
      buffer,
      release: () => {
        if (!lent) return;
        lent = false;
        const waiter = this.#waiting.shift();
        if (waiter !== undefined) waiter.resolve(this.#lend(buffer));
        else if (this.#closed) buffer.free();
        else this.#free.push(buffer);
      },
    };
  }
}

function closedError(): DataStreamError {
  return new DataStreamError("canceled", "The stream was closed.");
}
