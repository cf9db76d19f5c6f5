/**
 * Where batches are put for the training loop. The first backend is host memory; backends for
 * device memory implement the same interface, so nothing above them knows which one it has.
 */
export interface DeviceBackend {
  readonly name: string;
  /**
   * Memory for one batch, at least `byteLength` bytes, aligned to 64. Called once per slot when a
   * stream starts, never per batch.
   */
  allocate(byteLength: number): DeviceBuffer;
}

export interface DeviceBuffer {
  /** Host-visible memory that a batch is decoded into. */
  readonly host: Uint8Array;
  /** Makes the first `byteLength` bytes visible to the consumer: a copy to the device, or nothing on a host. */
  publish(byteLength: number): Promise<void>;
  /** Gives the memory back. The buffer must not be used again. */
  free(): void;
}

/** Ordinary memory of this process. */
export const hostMemory: DeviceBackend = {
  name: "host",
  allocate: (byteLength) => ({
    host: new Uint8Array(byteLength),
    publish: () => Promise.resolve(),
    free: () => undefined,
  }),
};
