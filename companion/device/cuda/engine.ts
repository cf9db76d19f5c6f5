/**
 * Rings that are copied to device memory: pinned host memory, one stream a ring, one event a slot. Belongs to the one
 * thread that talks to the driver. What exists is known exactly, and goes in the reverse order of its making, also
 * when making it failed half-way.
 *
 * Copies are submitted at once and completed in the order of submission, so that the device always has the next one
 * when it ends one.
 */
import type { CudaDriver, Handle } from "./driver.ts";
import { CudaError, IPC_HANDLE_BYTES } from "./driver.ts";

export interface EngineRing {
  readonly uuid: string;
  /** Of the host memory, mapped by this process. */
  readonly address: bigint;
  readonly slots: number;
  readonly slotBytes: number;
}

interface OpenRing extends EngineRing {
  readonly context: Handle;
  readonly stream: Handle;
  readonly events: readonly Handle[];
  readonly device: readonly Handle[];
  /** Undoes everything, the last thing first. */
  readonly undo: (() => void)[];
}

/** A copy that was submitted, by the number that the caller gave it. */
interface Submitted {
  readonly copy: number;
  readonly ring: number;
  readonly event: Handle;
}

/** How a copy ended. */
export interface Completed {
  readonly copy: number;
  readonly error: unknown;
}

export class CudaEngine {
  readonly #driver: CudaDriver;
  readonly #rings = new Map<number, OpenRing>();
  readonly #submitted: Submitted[] = [];

  constructor(driver: CudaDriver) {
    this.#driver = driver;
  }

  /** Copies whose end is not known. */
  get pending(): number {
    return this.#submitted.length;
  }

  /** Pins the memory and makes what copies need. Nothing is left of it when this throws. */
  open(id: number, ring: EngineRing): void {
    const driver = this.#driver;
    const ordinal = this.#ordinalOf(ring.uuid);
    const undo: (() => void)[] = [];
    try {
      const context = made(driver.retainContext(ordinal), () => driver.releaseContext(ordinal));
      driver.useContext(context);
      driver.registerHost(ring.address, ring.slots * ring.slotBytes);
      undo.push(() => driver.unregisterHost(ring.address));
      const stream = made(driver.createStream(), (it) => driver.destroyStream(it));
      const events = Array.from({ length: ring.slots }, () =>
        made(driver.createEvent(), (it) => driver.destroyEvent(it)),
      );
      this.#rings.set(id, { ...ring, context, stream, events, device: [], undo });
    } catch (error) {
      undoAll(undo);
      throw error;
    }

    function made(handle: Handle, destroy: (handle: Handle) => void): Handle {
      undo.push(() => destroy(handle));
      return handle;
    }
  }

  /** Opens the consumer's memory, one handle a slot. The ring stays as it was when this throws; close it. */
  attach(id: number, handles: readonly Uint8Array[]): void {
    const ring = this.#ring(id);
    if (handles.length !== ring.slots || handles.some(({ length }) => length !== IPC_HANDLE_BYTES))
      throw new CudaError("CUDA_ERROR_INVALID_VALUE", "one handle of 64 bytes is needed for each slot");
    if (ring.device.length > 0)
      throw new CudaError("CUDA_ERROR_ALREADY_MAPPED", "the handles are open already");
    this.#driver.useContext(ring.context);
    const device = handles.map((handle) => {
      const address = this.#driver.openHandle(handle);
      ring.undo.push(() => this.#driver.closeHandle(address));
      return address;
    });
    this.#rings.set(id, { ...ring, device });
  }

  /** Starts to copy the first bytes of a slot. */
  submit(copy: number, id: number, slot: number, byteLength: number): void {
    const ring = this.#ring(id);
    const [device, event] = [ring.device[slot], ring.events[slot]];
    if (device === undefined || event === undefined || byteLength > ring.slotBytes)
      throw new CudaError(
        "CUDA_ERROR_INVALID_VALUE",
        `slot ${slot} has no device memory of ${byteLength} bytes`,
      );
    this.#driver.useContext(ring.context);
    const host = ring.address + BigInt(slot) * BigInt(ring.slotBytes);
    this.#driver.copyToDevice(device, host, byteLength, ring.stream);
    this.#driver.recordEvent(event, ring.stream);
    this.#submitted.push({ copy, ring: id, event });
  }

  /** Waits for the oldest copy. Call only while some are pending. */
  completeOldest(): Completed {
    return this.#complete(this.#submitted.shift() as Submitted);
  }

  /** Waits for all copies of a ring. */
  settle(id: number): readonly Completed[] {
    const mine = this.#submitted.filter(({ ring }) => ring === id);
    const others = this.#submitted.filter(({ ring }) => ring !== id);
    this.#submitted.splice(0, this.#submitted.length, ...others);
    return mine.map((submitted) => this.#complete(submitted));
  }

  /** Gives back everything that was made for a ring, after `settle`; one that is not open is closed already. */
  close(id: number): void {
    const ring = this.#rings.get(id);
    if (ring === undefined) return;
    this.#rings.delete(id);
    this.#driver.useContext(ring.context);
    undoAll([...ring.undo, () => this.#driver.synchronizeStream(ring.stream)]);
  }

  /** Opens a handle and closes it again. */
  tryHandle(uuid: string, handle: Uint8Array): void {
    const ordinal = this.#ordinalOf(uuid);
    const context = this.#driver.retainContext(ordinal);
    try {
      this.#driver.useContext(context);
      this.#driver.closeHandle(this.#driver.openHandle(handle));
    } finally {
      this.#driver.releaseContext(ordinal);
    }
  }

  #complete({ copy, ring, event }: Submitted): Completed {
    try {
      this.#driver.useContext(this.#ring(ring).context);
      this.#driver.synchronizeEvent(event);
      return { copy, error: undefined };
    } catch (error) {
      return { copy, error };
    }
  }

  #ordinalOf(uuid: string): number {
    const devices = this.#driver.devices();
    const device = devices.find(
      (candidate) => candidate.uuid === uuid.toLowerCase().replace(/^gpu-/, "GPU-"),
    );
    if (device !== undefined) return device.ordinal;
    throw new CudaError(
      "CUDA_ERROR_INVALID_DEVICE",
      `device ${uuid} is not among those of this process (${devices.map((known) => known.uuid).join(", ") || "none"})`,
    );
  }

  #ring(id: number): OpenRing {
    const ring = this.#rings.get(id);
    if (ring === undefined) throw new CudaError("CUDA_ERROR_INVALID_HANDLE", `ring ${id} is not open`);
    return ring;
  }
}

/** All of it, whatever fails: a device that is lost fails every call, and what is not its own must still go. */
function undoAll(undo: (() => void)[]): void {
  let failure: unknown;
  for (const step of undo.toReversed()) {
    try {
      step();
    } catch (error) {
      failure ??= error;
    }
  }
  if (failure !== undefined) throw failure;
}
