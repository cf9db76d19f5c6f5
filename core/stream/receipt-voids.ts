/** Which acknowledgements of a stream a later request took back. */
import type { Segment } from "./session-records.ts";

export interface VoidedAcknowledgement {
  /** Acknowledged batches from this one on do not stand. */
  readonly from_batch: number;
  /** The lease under which they were to be sent again, or under which another world size began before them. */
  readonly by_lease: number;
}

/** A lease as far as this matters. */
export interface AcknowledgedLease extends Segment {
  readonly lease: number;
  readonly generation: number;
  readonly firstBatch: number;
  /** Batches acknowledged under it, from 0 on; 0 for none. */
  readonly acknowledged: number;
}

interface Limit {
  readonly batches: number;
  readonly lease: number;
}

/** The start of a generation in an epoch, with the first lease in it. */
interface Start {
  readonly generation: number;
  readonly startIndex: number;
  lease: number;
}

/**
 * An acknowledgement stands up to the first batch that a later lease of the same rank, epoch and generation began
 * with, and up to where a later generation began the same epoch. A global batch that such a start cuts does not stand.
 * Only the listed leases count; leaving out older ones changes nothing for the others.
 * @param leases ascending by number.
 * @returns by lease; acknowledgements that stand as a whole are absent.
 */
export function voidedAcknowledgements(
  leases: readonly AcknowledgedLease[],
  { count, batchSize }: { readonly count: number; readonly batchSize: number },
): ReadonlyMap<number, VoidedAcknowledgement> {
  const voids = new Map<number, VoidedAcknowledgement>();
  const rewinds = new Map<string, Limit>();
  const epochs = new Map<number, { running: Start; readonly later: Start[] }>();
  // From the last to the first: in an epoch a generation's leases all come before those of the next.
  for (const each of leases.toReversed()) {
    const { lease, generation, epoch, rank, worldSize, startIndex, firstBatch, acknowledged } = each;
    const known = epochs.get(epoch);
    const state = known ?? { running: { generation, startIndex, lease }, later: [] };
    if (known === undefined) epochs.set(epoch, state);
    if (state.running.generation !== generation) {
      if (state.running.startIndex < count) addLater(state.later, state.running);
      state.running = { generation, startIndex, lease };
    }
    state.running.lease = lease;

    const place = [generation, epoch, rank].join();
    const rewind = rewinds.get(place);
    const restart = restartLimit(state.later, startIndex, batchSize * worldSize);
    const limit = lower(rewind, restart);
    if (limit !== undefined && limit.batches < acknowledged)
      voids.set(lease, { from_batch: limit.batches, by_lease: limit.lease });
    rewinds.set(place, lower({ batches: firstBatch, lease }, rewind) as Limit);
  }
  return voids;
}

/**
 * Adds a start that came before all of `later`, and drops those that take back nothing which it does not take back
 * first. So positions rise in the list, and leases fall.
 */
function addLater(later: Start[], start: Start): void {
  while ((later.at(-1)?.startIndex ?? -1) >= start.startIndex) later.pop();
  later.push(start);
}

/** How many batches of a segment lie before every later start, and the first lease that takes back the next one. */
function restartLimit(later: readonly Start[], startIndex: number, globalBatch: number): Limit | undefined {
  let limit: Limit | undefined;
  for (const start of later) {
    const batches = Math.max(0, Math.floor((start.startIndex - startIndex) / globalBatch));
    if (limit !== undefined && batches > limit.batches) break;
    limit = { batches, lease: start.lease };
  }
  return limit;
}

/** Of equal ones the first. */
function lower(left: Limit | undefined, right: Limit | undefined): Limit | undefined {
  if (left === undefined || right === undefined) return left ?? right;
  return right.batches < left.batches ? right : left;
}
