/**
 * Kernels at work inside workerd: `GET /?work=NAME&bytes=N&times=T` does one piece of work
 * T times and answers when it is done. The clock stands still in here, so the caller measures.
 */
import { type Kernels, loadKernels } from "../../kernels/index.ts";
import type { Work } from "./measure.ts";

const GEOMETRY = { k: 4, m: 2 };
let loaded: Promise<Kernels> | undefined;
/** What one request set up serves the next, so that set-up is no part of a measurement. */
const ready = new Map<string, () => void>();

/** Sets up its buffers and returns the work to repeat; `bytes` is the data of one piece of work. */
const WORKS: Record<Work, (kernels: Kernels, bytes: number) => () => void> = {
  blake3(kernels, bytes) {
    const data = new Uint8Array(bytes).fill(1);
    return () => void kernels.blake3.hash(data);
  },
  blake3_in_place(kernels, bytes) {
    const region = kernels.heap.tryAllocate(bytes);
    if (region === undefined) throw new Error("the heap is full");
    region.view.fill(1);
    return () => void kernels.blake3At(region.pointer, bytes);
  },
  rs_encode(kernels, bytes) {
    const [data, parity] = stripe(kernels, bytes);
    return () => kernels.rs.encode(GEOMETRY, data, parity, bytes / GEOMETRY.k);
  },
  rs_reconstruct_1(kernels, bytes) {
    return reconstruct(kernels, bytes, [0]);
  },
  rs_reconstruct_2(kernels, bytes) {
    return reconstruct(kernels, bytes, [0, 2]);
  },
};

function stripe(kernels: Kernels, bytes: number): [number[], number[]] {
  const shardBytes = bytes / GEOMETRY.k;
  const region = kernels.heap.tryAllocate(shardBytes * (GEOMETRY.k + GEOMETRY.m));
  if (region === undefined) throw new Error("the heap is full");
  for (let at = 0; at < region.byteLength; at++) region.view[at] = at * 31;
  const pointers = Array.from({ length: GEOMETRY.k + GEOMETRY.m }, (_, i) => region.pointer + i * shardBytes);
  return [pointers.slice(0, GEOMETRY.k), pointers.slice(GEOMETRY.k)];
}

function reconstruct(kernels: Kernels, bytes: number, lost: readonly number[]): () => void {
  const pointers = stripe(kernels, bytes).flat();
  const missing = new Map(lost.map((index) => [index, pointers[index] as number]));
  const present = new Map([...pointers.entries()].filter(([index]) => !lost.includes(index)));
  return () => kernels.rs.reconstruct(GEOMETRY, present, missing, bytes / GEOMETRY.k);
}

async function answer(request: Request): Promise<Response> {
  loaded ??= loadKernels();
  const query = new URL(request.url).searchParams;
  const [name, bytes] = [query.get("work") as Work, Number(query.get("bytes"))];
  const key = `${name} ${bytes}`;
  const work = ready.get(key) ?? WORKS[name](await loaded, bytes);
  ready.set(key, work);
  for (let left = Number(query.get("times")); left > 0; left--) work();
  return new Response("done");
}

const worker: { fetch(request: Request): Promise<Response> } = { fetch: answer };
export default worker;
