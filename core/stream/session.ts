/**
 * The session of a stream: who may send and acknowledge what, and where a rank goes on. Pure transitions over
 * `SessionRecords`; each checks everything before it changes anything.
 *
 * Goals: a stream that was interrupted anywhere and resumed sends the same batches under the same transcript as
 * an unbroken one; at most one response per rank and epoch moves on; a new world size begins where every rank
 * was done. Not a goal: to know what the consumer trained on. Exactly-once needs the position in the
 * consumer's own checkpoint, which therefore always wins.
 */
import { canonicalJson } from "../canonical-json.ts";
import { DataStreamError, invalidArgument } from "../errors.ts";
import { totalBatches, type BatchPlan } from "./batches.ts";
import type { ParametersJson } from "./parameters.ts";
import { restartPosition } from "./session-restart.ts";
import type {
  ConsumerEvidence,
  EpochStart,
  FixedStream,
  LeaseHolder,
  Segment,
  SessionRecords,
  StreamIdentity,
  StreamShape,
} from "./session-records.ts";

const HEAD_BYTES = 32;

export interface AttachRequest extends FixedStream {
  readonly identity: StreamIdentity;
  readonly holder: LeaseHolder;
  readonly epoch: number;
  readonly rank: number;
  readonly worldSize: number;
  readonly startIndex: number;
  /** The batch of this segment to send first, whatever is acknowledged. Absent: the one after the last acknowledged. */
  readonly resumeBatch?: number | undefined;
}

export interface Attachment {
  readonly lease: number;
  /** Of the running segment; the request's own unless a new world size took over. */
  readonly startIndex: number;
  /** The batch to send first; equal to the total when nothing is left. */
  readonly nextBatch: number;
  /** Where the transcript goes on: at most `nextBatch`, less when the session never saw the batches between. */
  readonly chainBatch: number;
  /** The head before batch `chainBatch`; absent for batch 0, whose predecessor follows from the parameters. */
  readonly chainHead?: Uint8Array | undefined;
}

export interface WindowRecord extends Segment {
  readonly lease: number;
  readonly firstBatch: number;
  /** Transcript heads after each batch of the window, 32 bytes each. */
  readonly heads: Uint8Array;
}

export interface Acknowledgement {
  readonly epoch: number;
  readonly rank: number;
  readonly lease: number;
  /** This one and all before it. */
  readonly batch: number;
  /** The consumer's own head after `batch`. */
  readonly head: Uint8Array;
  readonly checkpoint: boolean;
  /** Milliseconds since 1970. */
  readonly at: number;
  /** Checked by the caller. */
  readonly consumer?: ConsumerEvidence | undefined;
}

/** Checkpoints that are remembered of each rank: ranks further apart than this many have no common one. */
export const CHECKPOINTS_KEPT = 64;

/**
 * Gives a rank a new lease, which voids its older one, and says where to go on. The request must have been
 * checked against its own limits (`checkBatchPlan`).
 *
 * - The first request fixes the parameters.
 * - A request that names a batch to resume at is taken by its word: its world size and start become those of the session.
 * - Epochs do not disturb each other: a rank may attach to the next one while what was sent of this one is not yet
 *   acknowledged, and a generation goes on in the epochs that no later one entered, unless the world size changed.
 * - Otherwise it joins the running generation, and goes on after the rank's last acknowledged batch. If it comes
 *   with another world size, a new generation begins at the last checkpoint that all ranks declared, else after
 *   the last batch that all acknowledged. A start other than the one that the session was asked for before is
 *   a position that the consumer chose, and wins.
 * @throws `failed_precondition` naming the field that differs from the session's parameters; `invalid_argument`
 *   for a batch past the end.
 */
export function attach(records: SessionRecords, request: AttachRequest): Attachment {
  const fixed = records.fixed();
  if (fixed !== undefined) checkSameParameters(fixed.parameters, request.parameters);
  const { epoch, rank, worldSize, resumeBatch } = request;

  const { start, isNew } = findStart(records, request);
  const segment: Segment = { epoch, rank, worldSize, startIndex: start.startIndex };
  const total = totalBatches(planOf(request.shape, segment));
  if (resumeBatch !== undefined && resumeBatch > total)
    throw invalidArgument(
      "resume_batch_index",
      `${resumeBatch} is past the end: this rank has ${total} batches from start_index ${start.startIndex} on.`,
      { limit: total },
    );

  records.identify(request.identity);
  if (fixed === undefined) records.fix({ parameters: request.parameters, shape: request.shape });
  if (isNew) enter(records, start);
  const place = { generation: start.generation.number, epoch, rank };
  const before = records.cursor(place)?.acknowledged;
  const nextBatch = resumeBatch ?? before ?? 0;
  const lease = records.nextLease();
  // What a reconnecting client has received ahead of its consumer is not acknowledged by asking for what follows.
  records.setCursor(place, { lease, acknowledged: Math.min(nextBatch, before ?? nextBatch) });
  records.addLease({ ...place, ...request.holder, lease, firstBatch: nextBatch });
  // A rank that goes back will store other checkpoints in place of those it left behind.
  records.dropCheckpointsAfter(place, nextBatch);

  const chainBatch = Math.min(nextBatch, records.headCount(segment));
  const chainHead = chainBatch === 0 ? undefined : records.heads(segment, chainBatch - 1, 1);
  return { lease, startIndex: start.startIndex, nextBatch, chainBatch, chainHead };
}

/**
 * Stores the heads of a window before any of its batches is sent, so that every head that a consumer can have
 * seen is known. Windows may overlap what is stored already.
 * @throws `aborted` when another request holds the rank, `data_loss` when the batches are not those of before.
 */
export function recordWindow(records: SessionRecords, window: WindowRecord): void {
  const start = runningStart(records, window.epoch);
  const cursor = start && records.cursor({ ...window, generation: start.generation.number });
  if (start === undefined || cursor?.lease !== window.lease || start.startIndex !== window.startIndex)
    throw new DataStreamError(
      "aborted",
      "Another request took over this rank of the stream, or the stream went on with another world size.",
    );
  const known = records.headCount(window);
  const count = window.heads.length / HEAD_BYTES;
  const overlap = Math.min(known - window.firstBatch, count);
  if (overlap < 0 || !Number.isInteger(count))
    throw new DataStreamError("internal", "A window of the stream does not continue what is recorded.");
  const stored = records.heads(window, window.firstBatch, overlap);
  for (let at = 0; at < overlap; at++)
    if (!sameHead(stored, at, window.heads, at))
      throw new DataStreamError(
        "data_loss",
        `Batch ${window.firstBatch + at} is not the one that this stream sent before: stored item hashes changed.`,
        { details: { batch_index: window.firstBatch + at } },
      );
  if (overlap < count) records.appendHeads(window, window.heads.subarray(overlap * HEAD_BYTES));
}

/**
 * Takes a consumer's word that it is done with a batch and all before. Repeating an older one changes nothing.
 * @returns how many batches of the running segment are acknowledged.
 * @throws `failed_precondition` under a lease that is void, `invalid_argument` for a batch that was never sent,
 *   `data_loss` when the consumer's transcript is not ours.
 */
export function acknowledge(records: SessionRecords, ack: Acknowledgement): number {
  const { shape } = records.fixed() ?? unknownStream();
  const start = runningStart(records, ack.epoch);
  const place = { generation: start?.generation.number ?? 0, epoch: ack.epoch, rank: ack.rank };
  const cursor = start && records.cursor(place);
  if (start === undefined || cursor?.lease !== ack.lease)
    throw new DataStreamError(
      "failed_precondition",
      `lease: ${ack.lease} is not the current lease of rank ${ack.rank} in epoch ${ack.epoch}. Attach again to acknowledge.`,
      { details: { field: "lease" } },
    );
  const segment: Segment = { ...ack, worldSize: start.generation.worldSize, startIndex: start.startIndex };
  const sent = Math.min(records.headCount(segment), totalBatches(planOf(shape, segment)));
  if (ack.batch >= sent)
    throw invalidArgument("batch_index", `${ack.batch} was not sent yet: ${sent} batches were.`, {
      limit: sent - 1,
    });
  if (ack.head.length !== HEAD_BYTES || !sameHead(records.heads(segment, ack.batch, 1), 0, ack.head, 0))
    throw new DataStreamError(
      "data_loss",
      `transcript_head: the consumer's transcript after batch ${ack.batch} is not the gateway's. Discard what follows the last good checkpoint and attach again.`,
      { details: { field: "transcript_head", batch_index: ack.batch } },
    );

  const batches = ack.batch + 1;
  const acknowledged = Math.max(cursor.acknowledged, batches);
  if (acknowledged > cursor.acknowledged) {
    records.setCursor(place, { ...cursor, acknowledged });
    const { at, consumer } = ack;
    records.acknowledgeLease(ack.lease, { batches, at, consumer });
  }
  if (ack.checkpoint) records.addCheckpoint(place, batches, CHECKPOINTS_KEPT);
  return acknowledged;
}

/** @throws `failed_precondition` naming the request's field. */
function checkSameParameters(fixed: ParametersJson, asked: ParametersJson): void {
  for (const key of new Set([...Object.keys(fixed), ...Object.keys(asked)])) {
    const before = canonicalJson(fixed[key] ?? null);
    const now = canonicalJson(asked[key] ?? null);
    if (before === now) continue;
    const field = FIELDS[key] ?? key;
    throw new DataStreamError(
      "failed_precondition",
      `${field}: this stream began with ${before} and cannot go on with ${now}. Use another stream_id.`,
      { details: { field } },
    );
  }
}

/** Parameters that the request spells otherwise. */
const FIELDS: Readonly<Record<string, string>> = {
  mode: "shuffle_mode",
  view_hash: "filter",
  batch_hash: "batch_hash_mode",
};

function findStart(records: SessionRecords, request: AttachRequest): { start: EpochStart; isNew: boolean } {
  const { epoch, worldSize, startIndex } = request;
  const isLiteral = request.resumeBatch !== undefined;
  const current = records.generation();
  const running = current?.worldSize === worldSize ? runningStart(records, epoch) : undefined;
  if (
    running !== undefined &&
    (running.startIndex === startIndex || (!isLiteral && running.requestedStart === startIndex))
  )
    return { start: running, isNew: false };

  const before = records.latestEpochStart(epoch);
  const goesOn = !isLiteral && running === undefined && before?.requestedStart === startIndex;
  const start: EpochStart = {
    generation:
      current?.worldSize === worldSize && running === undefined
        ? current // the first of its ranks to enter this epoch
        : { number: (current?.number ?? 0) + 1, worldSize },
    epoch,
    startIndex: goesOn ? restartPosition(records, before, request.shape) : startIndex,
    requestedStart: startIndex,
  };
  return { start, isNew: true };
}

function enter(records: SessionRecords, start: EpochStart): void {
  if (records.generation()?.number !== start.generation.number) records.addGeneration(start.generation);
  records.addEpochStart(start);
}

/** Where the latest generation that entered the epoch began it, as long as its world size is the current one. */
function runningStart(records: SessionRecords, epoch: number): EpochStart | undefined {
  const latest = records.latestEpochStart(epoch);
  return latest?.generation.worldSize === records.generation()?.worldSize ? latest : undefined;
}

function planOf(shape: StreamShape, segment: Segment): BatchPlan {
  return { ...shape, worldSize: segment.worldSize, rank: segment.rank, start: segment.startIndex };
}

function sameHead(left: Uint8Array, leftHead: number, right: Uint8Array, rightHead: number): boolean {
  for (let i = 0; i < HEAD_BYTES; i++)
    if (left[leftHead * HEAD_BYTES + i] !== right[rightHead * HEAD_BYTES + i]) return false;
  return true;
}

function unknownStream(): never {
  throw new DataStreamError("failed_precondition", "stream_id: nothing was streamed under this id yet.", {
    details: { field: "stream_id" },
  });
}
