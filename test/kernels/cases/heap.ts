import fc from "fast-check";
import { Heap, HEAP_ALIGNMENT, type Region } from "../../../kernels/heap.ts";
import { equal, refused } from "../check.ts";
import type { KernelCase } from "./case.ts";

const CAPACITY = 64 * 1024;
const START = 1000;

export const heapCases: readonly KernelCase[] = [
  {
    name: "heap: regions are aligned, disjoint and accounted for, and all of it comes back",
    run() {
      const step = fc.oneof(
        fc.record({ allocate: fc.integer({ min: 0, max: 9_000 }) }),
        fc.record({ free: fc.nat(1_000) }),
      );
      fc.assert(
        fc.property(fc.array(step, { maxLength: 120 }), (steps) => {
          const memory = new Uint8Array(START + CAPACITY + 100);
          const heap = new Heap(memory, START, START + CAPACITY);
          const capacity = heap.freeBytes;
          const live: { region: Region; mark: number }[] = [];
          let mark = 0;
          for (const action of steps) {
            if ("allocate" in action) {
              const largest = heap.largestFreeBytes;
              const region = heap.tryAllocate(action.allocate);
              const size = Math.max(
                HEAP_ALIGNMENT,
                Math.ceil(action.allocate / HEAP_ALIGNMENT) * HEAP_ALIGNMENT,
              );
              equal(
                region !== undefined,
                size <= largest,
                "an allocation succeeds exactly if its size is free",
              );
              if (region === undefined) continue;
              equal(region.pointer % HEAP_ALIGNMENT, 0, "alignment");
              equal(region.view.byteLength, action.allocate, "length of the view");
              equal(region.view.byteOffset, region.pointer, "start of the view");
              equal(region.pointer >= START, true, "not below the heap");
              equal(region.pointer + action.allocate <= START + CAPACITY, true, "not above the heap");
              mark = (mark % 255) + 1;
              region.view.fill(mark);
              live.push({ region, mark });
            } else if (live.length > 0) {
              const [gone] = live.splice(action.free % live.length, 1);
              gone?.region.free();
              refused(() => gone?.region.free(), "internal", "a second free");
            }
            const used = live.reduce(
              (sum, { region }) =>
                sum + Math.max(1, Math.ceil(region.byteLength / HEAP_ALIGNMENT)) * HEAP_ALIGNMENT,
              0,
            );
            equal(heap.freeBytes, capacity - used, "free bytes");
            for (const { region, mark: expected } of live) {
              equal(
                region.view.every((byte) => byte === expected),
                true,
                "no other region wrote here",
              );
            }
            const pointers = live.map(({ region }) => region.pointer);
            equal(new Set(pointers).size, pointers.length, "no two regions share an address");
          }
          for (const { region } of live) region.free();
          equal(heap.freeBytes, capacity, "free bytes at the end");
          equal(heap.largestFreeBytes, capacity, "freed neighbours are one span again");
        }),
        { numRuns: 60 },
      );
    },
  },
  {
    name: "heap: sizes that are no sizes are refused, and a small heap is a full one",
    run() {
      const memory = new Uint8Array(4096);
      const heap = new Heap(memory, 0, 4096);
      for (const size of [-1, 0.5, Number.NaN, Infinity]) {
        refused(() => heap.tryAllocate(size), "internal", `${size} bytes`);
      }
      equal(heap.tryAllocate(4097), undefined, "more than there is");
      const all = heap.tryAllocate(4096);
      equal(all?.byteLength, 4096, "all there is");
      equal(heap.tryAllocate(0), undefined, "nothing left");
      equal(heap.largestFreeBytes, 0, "largest free");
      equal(new Heap(memory, 10, 60).tryAllocate(0), undefined, "a heap without one aligned line");
    },
  },
  {
    name: "heap: the kernels' own heap has the size asked for and writes nothing below",
    run(kernels) {
      equal(kernels.heap.freeBytes, kernels.heap.capacity, "nothing is taken before use");
      const region = kernels.heap.tryAllocate(kernels.heap.largestFreeBytes);
      equal(region?.view.buffer, kernels.memory.buffer, "memory of the region");
      equal(
        region && region.pointer + region.byteLength <= kernels.bytes.byteLength,
        true,
        "end of the region",
      );
      region?.free();
    },
  },
];
