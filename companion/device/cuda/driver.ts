/**
 * The calls of the CUDA driver that a ring needs, through koffi. Everything is synchronous and belongs to ONE thread:
 * the driver keeps the current context per thread, and koffi's asynchronous calls run on threads that have none.
 *
 * Names and constants as in the CUDA driver API reference (https://docs.nvidia.com/cuda/cuda-driver-api/).
 */
import koffi from "koffi";

/** Opaque handles and device addresses; zero is none. */
export type Handle = bigint;

export interface CudaDevice {
  readonly ordinal: number;
  /** "GPU-" and the UUID in lower-case hexadecimal, as nvidia-smi prints it. */
  readonly uuid: string;
  readonly name: string;
}

/** Every call throws CudaError. */
export interface CudaDriver {
  devices(): readonly CudaDevice[];
  retainContext(ordinal: number): Handle;
  releaseContext(ordinal: number): void;
  /** Makes it current on this thread. */
  useContext(context: Handle): void;
  /** Page-locks host memory for every context; whole pages. */
  registerHost(address: bigint, byteLength: number): void;
  unregisterHost(address: bigint): void;
  /** One that does not wait for the default stream. */
  createStream(): Handle;
  destroyStream(stream: Handle): void;
  synchronizeStream(stream: Handle): void;
  createEvent(): Handle;
  destroyEvent(event: Handle): void;
  recordEvent(event: Handle, stream: Handle): void;
  /** Sleeps until everything before the event's last record is done. */
  synchronizeEvent(event: Handle): void;
  /** @param handle 64 bytes that another process exported. */
  openHandle(handle: Uint8Array): Handle;
  closeHandle(address: Handle): void;
  /** Only starts the copy: the host bytes must stay as they are until an event behind it is done. */
  copyToDevice(device: Handle, host: bigint, byteLength: number, stream: Handle): void;
}

export const IPC_HANDLE_BYTES = 64;

/** An error of the driver, by its own name. */
export class CudaError extends Error {
  override readonly name = "CudaError";
  /** Such as CUDA_ERROR_INVALID_CONTEXT; "unavailable" where there is no driver. */
  readonly code: string;

  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

const HOST_REGISTER_PORTABLE = 1;
const STREAM_NON_BLOCKING = 1;
const EVENT_BLOCKING_SYNC = 1;
const EVENT_DISABLE_TIMING = 2;
const IPC_LAZY_ENABLE_PEER_ACCESS = 1;

/**
 * @param path `CYXCLOUD_LIBCUDA`, or the name under which the system's driver is found.
 * @throws CudaError where it cannot be loaded or initialised.
 */
export function loadDriver(path: string): CudaDriver {
  const call = bind(path);
  const out = new BigUint64Array(1);
  const received = (): Handle => out[0] as bigint;
  const number = new Int32Array(1);
  const device = (ordinal: number): number => {
    call.cuDeviceGet(number, ordinal);
    return number[0] as number;
  };
  call.cuInit(0);
  return {
    devices() {
      call.cuDeviceGetCount(number);
      return Array.from({ length: number[0] as number }, (_, ordinal) => {
        const uuid = new Uint8Array(16);
        const name = new Uint8Array(256);
        call.cuDeviceGetUuid_v2(uuid, device(ordinal));
        call.cuDeviceGetName(name, name.length, device(ordinal));
        const end = name.indexOf(0);
        return { ordinal, uuid: formatUuid(uuid), name: new TextDecoder().decode(name.subarray(0, end)) };
      });
    },
    retainContext(ordinal) {
      call.cuDevicePrimaryCtxRetain(out, device(ordinal));
      return received();
    },
    releaseContext: (ordinal) => call.cuDevicePrimaryCtxRelease_v2(device(ordinal)),
    useContext: (context) => call.cuCtxSetCurrent(context),
    registerHost: (address, byteLength) =>
      call.cuMemHostRegister_v2(address, byteLength, HOST_REGISTER_PORTABLE),
    unregisterHost: (address) => call.cuMemHostUnregister(address),
    createStream() {
      call.cuStreamCreate(out, STREAM_NON_BLOCKING);
      return received();
    },
    destroyStream: (stream) => call.cuStreamDestroy_v2(stream),
    synchronizeStream: (stream) => call.cuStreamSynchronize(stream),
    createEvent() {
      call.cuEventCreate(out, EVENT_BLOCKING_SYNC | EVENT_DISABLE_TIMING);
      return received();
    },
    destroyEvent: (event) => call.cuEventDestroy_v2(event),
    recordEvent: (event, stream) => call.cuEventRecord(event, stream),
    synchronizeEvent: (event) => call.cuEventSynchronize(event),
    openHandle(handle) {
      call.cuIpcOpenMemHandle_v2(out, { reserved: handle }, IPC_LAZY_ENABLE_PEER_ACCESS);
      return received();
    },
    closeHandle: (address) => call.cuIpcCloseMemHandle(address),
    copyToDevice: (to, host, byteLength, stream) => call.cuMemcpyHtoDAsync_v2(to, host, byteLength, stream),
  };
}

/** Parameters as in C; handles and addresses of either side are 64-bit numbers. */
const SIGNATURES = {
  cuInit: ["uint"],
  cuDeviceGetCount: ["void *"],
  cuDeviceGet: ["void *", "int"],
  cuDeviceGetName: ["void *", "int", "int"],
  cuDeviceGetUuid_v2: ["void *", "int"],
  cuDevicePrimaryCtxRetain: ["void *", "int"],
  cuDevicePrimaryCtxRelease_v2: ["int"],
  cuCtxSetCurrent: ["uint64"],
  cuMemHostRegister_v2: ["uint64", "size_t", "uint"],
  cuMemHostUnregister: ["uint64"],
  cuStreamCreate: ["void *", "uint"],
  cuStreamDestroy_v2: ["uint64"],
  cuStreamSynchronize: ["uint64"],
  cuEventCreate: ["void *", "uint"],
  cuEventDestroy_v2: ["uint64"],
  cuEventRecord: ["uint64", "uint64"],
  cuEventSynchronize: ["uint64"],
  cuIpcOpenMemHandle_v2: ["void *", "handle", "uint"],
  cuIpcCloseMemHandle: ["uint64"],
  cuMemcpyHtoDAsync_v2: ["uint64", "uint64", "size_t", "uint64"],
} as const;

type Calls = { readonly [name in keyof typeof SIGNATURES]: (...parameters: unknown[]) => void };

function bind(path: string): Calls {
  let library;
  try {
    library = koffi.load(path);
  } catch {
    throw new CudaError("unavailable", `${path} is not installed`);
  }
  // By value: the driver takes the 64 bytes themselves, not their address.
  const handle = koffi.struct({ reserved: koffi.array("uint8_t", IPC_HANDLE_BYTES) });
  const getErrorName = library.func("int cuGetErrorName(int error, _Out_ const char **name)");
  const nameOf = (error: number): string => {
    const name: (string | null)[] = [null];
    getErrorName(error, name);
    return name[0] ?? `CUDA error ${error}`;
  };
  const bound = Object.entries(SIGNATURES).map(([name, types]) => {
    let call: (...parameters: unknown[]) => number;
    try {
      call = library.func(
        name,
        "int",
        types.map((type) => (type === "handle" ? handle : type)),
      );
    } catch {
      throw new CudaError("unavailable", `the driver is too old: it has no ${name}`);
    }
    const checked = (...parameters: unknown[]): void => {
      const error = call(...parameters);
      if (error !== 0) throw new CudaError(nameOf(error), `${name}: ${nameOf(error)}`);
    };
    return [name, checked];
  });
  return Object.fromEntries(bound) as Calls;
}

function formatUuid(bytes: Uint8Array): string {
  const hex = Buffer.from(bytes).toString("hex");
  return `GPU-${[hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-")}`;
}
