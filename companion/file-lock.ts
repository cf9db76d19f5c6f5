import { closeSync, openSync } from "node:fs";
import koffi, { type LibraryHandle } from "koffi";

type Call = ReturnType<LibraryHandle["func"]>;

/** Linux and macOS agree. */
const LOCK_EXCLUSIVE = 2;

let flock: Call | undefined;

/**
 * Waits for the system's advisory lock on a file (flock), and makes the file where there is none. The lock ends when the
 * returned function is called, or with the process, however that ends: none is left behind. Not for files on network
 * file systems. Waiting takes one thread of the pool, so whoever holds the lock must not wait for that pool.
 * @throws the system's error when the file cannot be opened or locked.
 */
export async function lockFile(file: string): Promise<() => void> {
  flock ??= koffi.load(null).func("int flock(int descriptor, int operation)");
  const descriptor = openSync(file, "a", 0o600);
  try {
    await exclusively(flock, descriptor);
  } catch (error) {
    closeSync(descriptor);
    throw error;
  }
  return () => closeSync(descriptor);
}

async function exclusively(call: Call, descriptor: number): Promise<void> {
  const { EINTR } = koffi.os.errno;
  for (;;) {
    const result = await new Promise<number>((resolve, reject) => {
      call.async(descriptor, LOCK_EXCLUSIVE, (error: unknown, answer: number) =>
        error ? reject(error) : resolve(answer),
      );
    });
    if (result === 0) return;
    const number = koffi.errno();
    if (number !== EINTR) throw new Error(`A file cannot be locked (errno ${number}).`);
  }
}
