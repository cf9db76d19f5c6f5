/** Host memory that every thread of this process can reach, as a value that a message to a thread can carry. */
import koffi from "koffi";

export type MemoryReference =
  | {
      readonly kind: "shared";
      readonly buffer: SharedArrayBuffer;
      readonly byteOffset: number;
      readonly byteLength: number;
    }
  /** Mapped memory. Nothing checks the address: it is valid until its ring is closed. */
  | { readonly kind: "address"; readonly address: bigint; readonly byteLength: number };

/**
 * Views of mapped memory that a thread keeps. One costs 0.2 ms to make, so a thread views a whole ring and takes
 * subarrays; a thread that sees more rings than this makes the oldest view anew.
 */
const VIEWS_KEPT = 64;

const views = new Map<string, Uint8Array>();

/**
 * The memory as bytes, on this thread. Views of mapped memory are cached by address and length: view a ring once and
 * take subarrays of it. Touching a view after its ring was closed ends the process.
 */
export function viewOf(reference: MemoryReference): Uint8Array {
  if (reference.kind === "shared")
    return new Uint8Array(reference.buffer, reference.byteOffset, reference.byteLength);
  const key = `${reference.address}+${reference.byteLength}`;
  const known = views.get(key);
  // Put back at the end: the first entry is the one that was not asked for the longest.
  views.delete(key);
  const view = known ?? new Uint8Array(koffi.view(reference.address, reference.byteLength));
  views.set(key, view);
  if (views.size > VIEWS_KEPT) views.delete(views.keys().next().value as string);
  return view;
}

const setAside = new Set<bigint>();

/**
 * A thread that nobody can end may still write here: the memory stays mapped until the process ends. Only so far as it
 * is mapped memory; what threads share by reference lives as long as they do.
 */
export function neverReuse(reference: MemoryReference): void {
  if (reference.kind === "address") setAside.add(reference.address);
}

/** Whether mapped memory may be given back. */
export function isReusable(reference: MemoryReference & { readonly kind: "address" }): boolean {
  return !setAside.has(reference.address);
}

/** @throws RangeError for a part that is not inside. */
export function subReference(
  reference: MemoryReference,
  byteOffset: number,
  byteLength: number,
): MemoryReference {
  if (byteOffset < 0 || byteLength < 0 || byteOffset + byteLength > reference.byteLength) {
    throw new RangeError(
      `${byteLength} bytes at ${byteOffset} are not inside ${reference.byteLength} bytes of memory.`,
    );
  }
  return reference.kind === "shared"
    ? { ...reference, byteOffset: reference.byteOffset + byteOffset, byteLength }
    : { kind: "address", address: reference.address + BigInt(byteOffset), byteLength };
}

/** The same memory as `subReference` on this thread, without a view of its own: what filling a slot needs. */
export function subView(ring: MemoryReference, part: MemoryReference): Uint8Array {
  const offset =
    part.kind === "address" && ring.kind === "address"
      ? Number(part.address - ring.address)
      : part.kind === "shared" && ring.kind === "shared" && part.buffer === ring.buffer
        ? part.byteOffset - ring.byteOffset
        : -1;
  if (offset < 0 || offset + part.byteLength > ring.byteLength)
    throw new RangeError("The part is not memory of this ring.");
  return viewOf(ring).subarray(offset, offset + part.byteLength);
}
