/**
 * Memory that another process can map: a file in a folder of memory (`/dev/shm`), mapped here. Its name is needed only
 * until the other process has opened it; then it is unlinked, and the kernel frees the memory when both let go.
 */
import { close as closeDescriptor, constants, open as openDescriptor, statfsSync, unlinkSync } from "node:fs";
import { promisify } from "node:util";
import prettyBytes from "pretty-bytes";
import { DataStreamError } from "../../core/errors.ts";
import { freshName, sweepOnce } from "./file-names.ts";
import { LibcError, libc } from "./libc.ts";
import { isReusable, type MemoryReference } from "./reference.ts";

export const MEMORY_FOLDER = "/dev/shm";

const open = promisify(openDescriptor);
const close = promisify(closeDescriptor);

export interface MappedFile {
  readonly path: string;
  readonly memory: MemoryReference & { readonly kind: "address" };
  /** Removes the name; whoever has the file open or mapped keeps it. Idempotent. */
  unlink(): void;
  /** Unlinks and unmaps, unless `neverReuse` was told of it. Idempotent. Touching the memory afterwards ends the process. */
  close(): void;
}

/**
 * Creates a file that only this user can open, with all of its memory reserved: a file that is merely long would end
 * whoever writes to it with SIGBUS when the folder is full.
 *
 * @param folder on a file system in memory; on a disk it works, slowly.
 * @param purpose for the error: what needs the bytes, such as "4 slots of 64 MiB".
 * @throws `resource_exhausted` naming size, free space and what to do.
 */
export async function createMappedFile(
  byteLength: number,
  purpose: string,
  folder: string = MEMORY_FOLDER,
): Promise<MappedFile> {
  sweepOnce(folder);
  const path = freshName(folder);
  const descriptor = await openNew(path, folder);
  named.add(path);
  watchEnd();
  try {
    await libc().allocate(descriptor, byteLength);
    const address = await libc().map(descriptor, byteLength);
    return new Mapping(path, { kind: "address", address, byteLength });
  } catch (error) {
    remove(path);
    throw explained(error, byteLength, purpose, folder);
  } finally {
    await close(descriptor);
  }
}

class Mapping implements MappedFile {
  readonly path: string;
  readonly memory: MemoryReference & { readonly kind: "address" };
  #mapped = true;

  constructor(path: string, memory: MemoryReference & { readonly kind: "address" }) {
    this.path = path;
    this.memory = memory;
  }

  unlink(): void {
    if (named.has(this.path)) remove(this.path);
  }

  close(): void {
    this.unlink();
    if (!this.#mapped) return;
    this.#mapped = false;
    if (isReusable(this.memory)) libc().unmap(this.memory.address, this.memory.byteLength);
  }
}

async function openNew(path: string, folder: string): Promise<number> {
  const { O_RDWR, O_CREAT, O_EXCL, O_NOFOLLOW } = constants;
  try {
    return await open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
  } catch (cause) {
    const reason = (cause as NodeJS.ErrnoException).code ?? "an error";
    throw new DataStreamError(
      "failed_precondition",
      `No file for shared memory could be created in ${folder} (${reason}): name a folder in memory that this user may write to.`,
      { cause, details: { field: "folder", path: folder } },
    );
  }
}

function explained(error: unknown, byteLength: number, purpose: string, folder: string): unknown {
  if (!(error instanceof LibcError)) return error;
  const { bavail, bsize } = statfsSync(folder);
  const free = bavail * bsize;
  const sizes = `${purpose} need ${size(byteLength)} in ${folder}, where ${size(free)} are free`;
  const advice = `Make it larger (docker run --shm-size=${mebibytes(byteLength)}m, or mount -o remount,size=… ${folder}), or ask for fewer slots or a smaller batch.`;
  const message =
    error.errno === "ENOSPC"
      ? `${sizes}. ${advice}`
      : `${sizes}, and the memory could not be had (${error.message}). Ask for fewer slots or a smaller batch, or free memory.`;
  return new DataStreamError("resource_exhausted", message, {
    cause: error,
    details: { field: "slots", path: folder, needed: byteLength, free },
  });
}

function size(bytes: number): string {
  return prettyBytes(bytes, { binary: true });
}

/** Room for twice the ring: others use the folder too. */
function mebibytes(byteLength: number): number {
  return Math.ceil((2 * byteLength) / 1024 ** 2);
}

/** Names that exist now and are ours. */
const named = new Set<string>();

function remove(path: string): void {
  named.delete(path);
  try {
    unlinkSync(path);
  } catch {
    // Somebody else removed it.
  }
}

const SIGNALS = ["SIGTERM", "SIGINT", "SIGHUP"] as const;
let watching = false;

/** A name must not outlive the process, however it ends; what SIGKILL leaves, the next process sweeps. */
function watchEnd(): void {
  if (watching) return;
  watching = true;
  const removeAll = (): void => named.forEach(remove);
  process.on("exit", removeAll);
  for (const signal of SIGNALS) {
    const onSignal = (): void => {
      removeAll();
      // With no other listener the process would have ended: so it does now. A service with one drains first.
      if (process.listenerCount(signal) > 1) return;
      process.off(signal, onSignal);
      process.kill(process.pid, signal);
    };
    process.on(signal, onSignal);
  }
}
