/** The few calls to Linux's C library that map memory. Loaded when first used: other systems have host memory alone. */
import koffi, { type LibraryHandle } from "koffi";

const PROTECTION_READ_WRITE = 3;
const MAP_SHARED = 0x01;
/** Page tables are filled at once, so that the first batch is not slower than the others. */
const MAP_POPULATE = 0x8000;
const MAP_FAILED = 0xffff_ffff_ffff_ffffn;

export interface Libc {
  /** Reserves the bytes for good. Blocks while pages are cleared, so it runs on a thread of the pool. */
  allocate(descriptor: number, byteLength: number): Promise<void>;
  /** Address of a shared mapping of the whole file. */
  map(descriptor: number, byteLength: number): Promise<bigint>;
  unmap(address: bigint, byteLength: number): void;
}

/** What a call of the C library answered; `errno` as a name, such as ENOSPC. */
export class LibcError extends Error {
  override readonly name = "LibcError";
  readonly errno: string;

  constructor(call: string, number: number) {
    const errno = Object.entries(koffi.os.errno).find(([, value]) => value === number)?.[0] ?? String(number);
    super(`${call}: ${errno}`);
    this.errno = errno;
  }
}

let loaded: Libc | undefined;

export function libc(): Libc {
  loaded ??= load();
  return loaded;
}

function load(): Libc {
  const library = koffi.load("libc.so.6");
  const fallocate = library.func("int posix_fallocate(int descriptor, int64_t offset, int64_t length)");
  const mmap = library.func(
    "intptr_t mmap(void *address, size_t length, int protection, int flags, int descriptor, int64_t offset)",
  );
  const munmap = library.func("int munmap(void *address, size_t length)");
  return {
    async allocate(descriptor, byteLength) {
      // The call answers its error instead of setting errno. A signal may interrupt it.
      for (;;) {
        const error = await onThread<number>(fallocate, descriptor, 0, byteLength);
        if (error === 0) return;
        if (error !== koffi.os.errno["EINTR"]) throw new LibcError("posix_fallocate", error);
      }
    },
    async map(descriptor, byteLength) {
      const flags = MAP_SHARED | MAP_POPULATE;
      const address = BigInt.asUintN(
        64,
        BigInt(
          await onThread<number | bigint>(
            mmap,
            null,
            byteLength,
            PROTECTION_READ_WRITE,
            flags,
            descriptor,
            0,
          ),
        ),
      );
      if (address === MAP_FAILED) throw new LibcError("mmap", koffi.errno());
      return address;
    },
    unmap(address, byteLength) {
      if (munmap(address, byteLength) !== 0) throw new LibcError("munmap", koffi.errno());
    },
  };
}

function onThread<T>(call: ReturnType<LibraryHandle["func"]>, ...parameters: unknown[]): Promise<T> {
  return new Promise((resolve, reject) => {
    call.async(...parameters, (error: unknown, result: T) => (error ? reject(error) : resolve(result)));
  });
}
