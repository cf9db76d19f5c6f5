/** Kernel memory for one message at a time, within the isolate's budget. */
import { DataStreamError } from "../../../core/errors.ts";
import type { Kernels, Region } from "../../../kernels/index.ts";
import type { BudgetLease, ByteBudget } from "../../../storage/byte-budget.ts";

export interface Slot {
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** The bytes must not be used afterwards: the next slot may lie at the same place. A second call has no effect. */
  release(): void;
}

interface SlotDeps {
  readonly kernels: Pick<Kernels, "heap">;
  readonly budget: ByteBudget;
}

/** The heap is larger than the budget, so it lacks a free run of this size only while others are about to end. */
const FRAGMENTED_RETRY_MS = 20;
const FRAGMENTED_TRIES = 500;

/** Undefined when the memory is not free now. */
export function trySlot(deps: SlotDeps, byteLength: number): Slot | undefined {
  const lease = deps.budget.tryAcquire(byteLength);
  return lease && place(deps, lease);
}

/**
 * Waits for memory. Call it while holding none.
 * @throws `resource_exhausted` after the budget's waiting time, `canceled` when the signal aborts.
 */
export async function acquireSlot(deps: SlotDeps, byteLength: number, signal: AbortSignal): Promise<Slot> {
  for (let tries = 0; tries < FRAGMENTED_TRIES; tries++) {
    const slot = place(deps, await deps.budget.acquire(byteLength, { signal }));
    if (slot !== undefined) return slot;
    await new Promise((resolve) => setTimeout(resolve, FRAGMENTED_RETRY_MS));
  }
  throw new DataStreamError(
    "resource_exhausted",
    "The gateway is busy: no memory became free in time. Try again shortly.",
  );
}

function place({ kernels }: SlotDeps, lease: BudgetLease): Slot | undefined {
  const region: Region | undefined = kernels.heap.tryAllocate(lease.bytes);
  if (region === undefined) {
    lease.release();
    return undefined;
  }
  let held = true;
  return {
    bytes: region.view,
    release: () => {
      if (!held) return;
      held = false;
      region.free();
      lease.release();
    },
  };
}
