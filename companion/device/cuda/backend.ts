/**
 * `cuda-ipc`: the consumer allocates device memory and exports it; this process pins the ring and copies each slot
 * there. Live tensors are the consumer's own memory, so the end of this process invalidates none of them.
 */
import { DataStreamError, invalidArgument } from "../../../core/errors.ts";
import { createMappedFile, type MappedFile } from "../../memory/mapped-file.ts";
import {
  checkRingOptions,
  type ConsumerDevice,
  type DeviceBackend,
  type Ring,
  type RingOptions,
} from "../backend.ts";
import { purposeOf } from "../shared.ts";
import { CudaThread } from "./client.ts";
import { IPC_HANDLE_BYTES, type CudaDevice } from "./driver.ts";

/** Where the system has it; `CYXCLOUD_LIBCUDA` names another. */
export const LIBCUDA = "libcuda.so.1";

export interface CudaIpcOptions {
  /** For the rings' files: `/dev/shm`, unless named. */
  readonly folder?: string | undefined;
  /** What the driver's thread runs, in a bundle. */
  readonly threadFile?: URL | undefined;
}

export class CudaIpcBackend implements DeviceBackend {
  readonly name = "cuda-ipc";
  readonly #thread: CudaThread;
  readonly #folder: string | undefined;
  #lastRing = 0;

  constructor(library: string = LIBCUDA, { folder, threadFile }: CudaIpcOptions = {}) {
    this.#thread = new CudaThread(library, threadFile);
    this.#folder = folder;
  }

  /** @throws when there is no driver, or it does not start. */
  async devices(): Promise<readonly CudaDevice[]> {
    return (await this.#thread.request({ type: "devices" })).devices ?? [];
  }

  /** Why this process cannot copy into the consumer's memory, or undefined. Tries its probe where it sent one. */
  async refusal(consumer: ConsumerDevice): Promise<string | undefined> {
    if (!consumer.ipc) return "the trainer could not export device memory";
    if (consumer.pid === process.pid) {
      return "both processes have the same id, as in two containers, and the driver tells them apart by it";
    }
    try {
      if (consumer.probe !== undefined) {
        await this.#thread.request({
          type: "try",
          uuid: consumer.uuid,
          handle: decodeHandle("probe", consumer.probe),
        });
      } else if (!(await this.devices()).some(({ uuid }) => uuid === consumer.uuid)) {
        return `device ${consumer.uuid} is not among those of this process`;
      }
      return undefined;
    } catch (error) {
      if (error instanceof DataStreamError && error.code !== "internal") return reasonOf(error);
      throw error;
    }
  }

  async createRing(options: RingOptions, consumer?: ConsumerDevice): Promise<Ring> {
    checkRingOptions(this.name, options);
    if (consumer === undefined) throw invalidArgument("device", "is needed for cuda-ipc.");
    const file = await createMappedFile(options.slots * options.slotBytes, purposeOf(options), this.#folder);
    const ring = ++this.#lastRing;
    try {
      const { address } = file.memory;
      await this.#thread.request({
        type: "open",
        ring,
        options: { ...options, address, uuid: consumer.uuid },
      });
    } catch (error) {
      file.close();
      throw error;
    }
    return new CudaRing(this.#thread, ring, file, options);
  }

  async close(): Promise<void> {
    await this.#thread.close();
  }
}

class CudaRing implements Ring {
  readonly memory: MappedFile["memory"];
  readonly slotBytes: number;
  readonly slots: number;
  readonly attachment: { readonly path: string; readonly size: number };
  readonly #thread: CudaThread;
  readonly #ring: number;
  readonly #file: MappedFile;
  #closed: Promise<void> | undefined;

  constructor(thread: CudaThread, ring: number, file: MappedFile, options: RingOptions) {
    this.#thread = thread;
    this.#ring = ring;
    this.#file = file;
    this.memory = file.memory;
    this.slotBytes = options.slotBytes;
    this.slots = options.slots;
    this.attachment = { path: file.path, size: file.memory.byteLength };
  }

  async attached({ handles = [] }: { readonly handles?: readonly string[] }): Promise<void> {
    this.#file.unlink();
    if (handles.length !== this.slots)
      throw invalidArgument("handles", `must be ${this.slots}, one for each slot.`, { limit: this.slots });
    await this.#thread.request({
      type: "attach",
      ring: this.#ring,
      handles: handles.map((text) => decodeHandle("handles", text)),
    });
  }

  async publish(slot: number, byteLength: number): Promise<void> {
    await this.#thread.request({ type: "copy", ring: this.#ring, slot, byteLength });
  }

  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    this.#file.unlink();
    try {
      await this.#thread.request({ type: "close", ring: this.#ring });
    } finally {
      // Also when the driver refuses: the pages are then its own until this process ends.
      this.#file.close();
    }
  }
}

/** An error within a sentence. */
export function reasonOf(error: unknown): string {
  return (error as Error).message.replace(/^CUDA: |\.$/g, "");
}

function decodeHandle(field: string, text: string): Uint8Array {
  const bytes = Buffer.from(text, "base64");
  // Not Buffer's shared pool: the message to the thread would carry all of it.
  if (bytes.length === IPC_HANDLE_BYTES) return new Uint8Array(bytes);
  throw invalidArgument(field, `must be base64 of ${IPC_HANDLE_BYTES} bytes each.`, {
    limit: IPC_HANDLE_BYTES,
  });
}
