import { DataStreamError } from "../core/errors.ts";
import type { Blake3Incremental } from "../core/ports.ts";
import type { KernelInstance } from "./exports.ts";
import { DIGEST, INITIAL_KEY, STAGING, STAGING_BYTES, STATE_BYTES, STATE_SLOTS, STATES } from "./layout.ts";

/** Flag of the last compression of a digest (BLAKE3 specification, section 2.2). */
export const ROOT = 8;

/** Feeds `bytes` to the state at `state`: in place when they lie in kernel memory, else through the staging area. */
export function feed(kernel: KernelInstance, state: number, bytes: Uint8Array): void {
  if (bytes.buffer === kernel.memory.buffer) {
    kernel.exports.stateUpdate(state, bytes.byteOffset, bytes.byteLength);
    return;
  }
  for (let at = 0; at < bytes.byteLength; at += STAGING_BYTES) {
    const piece = bytes.subarray(at, at + STAGING_BYTES);
    kernel.bytes.set(piece, STAGING);
    kernel.exports.stateUpdate(state, STAGING, piece.byteLength);
  }
}

/**
 * Gives each hasher one of a few places in kernel memory while it is in use. When all are
 * taken, the one that rested longest is moved out, so the number of hashers has no limit,
 * and one that its owner forgets costs nothing but its place until then.
 */
export class HasherPool {
  readonly #kernel: KernelInstance;
  readonly #slots: (Hasher | undefined)[] = Array.from({ length: STATE_SLOTS });
  #clock = 0;

  constructor(kernel: KernelInstance) {
    this.#kernel = kernel;
  }

  create(): Blake3Incremental {
    return new Hasher(this.#kernel, this);
  }

  /** Address of the hasher's state, brought in if it was moved out. */
  place(hasher: Hasher): number {
    hasher.lastUse = ++this.#clock;
    if (hasher.slot === undefined) {
      let slot = this.#slots.indexOf(undefined);
      if (slot < 0) slot = this.#evict();
      this.#slots[slot] = hasher;
      hasher.slot = slot;
      const address = STATES + slot * STATE_BYTES;
      if (hasher.saved === undefined) {
        this.#kernel.exports.stateInit(address, INITIAL_KEY, 0, 0, 0);
      } else {
        this.#kernel.bytes.set(hasher.saved, address);
        hasher.saved = undefined;
      }
    }
    return STATES + hasher.slot * STATE_BYTES;
  }

  release(hasher: Hasher): void {
    if (hasher.slot !== undefined) this.#slots[hasher.slot] = undefined;
    hasher.slot = undefined;
    hasher.saved = undefined;
  }

  #evict(): number {
    const oldest = (this.#slots as Hasher[]).reduce((a, b) => (b.lastUse < a.lastUse ? b : a));
    const slot = oldest.slot as number;
    const address = STATES + slot * STATE_BYTES;
    oldest.saved = this.#kernel.bytes.slice(address, address + STATE_BYTES);
    oldest.slot = undefined;
    return slot;
  }
}

class Hasher implements Blake3Incremental {
  readonly #kernel: KernelInstance;
  readonly #pool: HasherPool;
  #ended = false;
  slot: number | undefined;
  saved: Uint8Array | undefined;
  lastUse = 0;

  constructor(kernel: KernelInstance, pool: HasherPool) {
    this.#kernel = kernel;
    this.#pool = pool;
  }

  update(bytes: Uint8Array): void {
    feed(this.#kernel, this.#place(), bytes);
  }

  digest(): Uint8Array {
    this.#kernel.exports.stateFinish(this.#place(), ROOT, DIGEST);
    this.dispose();
    return this.#kernel.bytes.slice(DIGEST, DIGEST + 32);
  }

  dispose(): void {
    this.#ended = true;
    this.#pool.release(this);
  }

  #place(): number {
    if (this.#ended) throw new DataStreamError("internal", "This hash has ended; begin a new one.");
    return this.#pool.place(this);
  }
}
