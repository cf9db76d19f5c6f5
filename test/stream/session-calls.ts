/** Calls of a session as its tests make them. */
import { DataStreamError } from "../../core/errors.ts";
import {
  acknowledge,
  attach,
  recordWindow,
  type AttachRequest,
  type Attachment,
} from "../../core/stream/session.ts";
import type { Segment, SessionRecords, StreamShape } from "../../core/stream/session-records.ts";
import { blake3 } from "../core/blake3.ts";

/** Any function of the segment and the batch serves as a transcript, as long as it tells them apart. */
export function headOf(segment: Segment, batch: number): Uint8Array {
  const { epoch, rank, worldSize, startIndex } = segment;
  return blake3.hash(new TextEncoder().encode(JSON.stringify([epoch, rank, worldSize, startIndex, batch])));
}

export function headsOf(segment: Segment, first: number, count: number): Uint8Array {
  const heads = new Uint8Array(32 * count);
  for (let i = 0; i < count; i++) heads.set(headOf(segment, first + i), 32 * i);
  return heads;
}

export const SHAPE: StreamShape = { count: 100, batchSize: 5, tail: "short" };

export function request(fields: Partial<AttachRequest> = {}): AttachRequest {
  return {
    parameters: { batch_size: 5, mode: "full", seed: "7" },
    shape: SHAPE,
    identity: { userId: "user", streamId: "stream" },
    holder: { tokenId: "token", nodeId: null, at: 1_000 },
    epoch: 0,
    rank: 0,
    worldSize: 1,
    startIndex: 0,
    ...fields,
  };
}

/** Attaches and sends as many batches as told. */
export function send(
  records: SessionRecords,
  fields: Partial<AttachRequest>,
  count: number,
): { attachment: Attachment; segment: Segment } {
  const asked = request(fields);
  const attachment = attach(records, asked);
  const { epoch, rank, worldSize } = asked;
  const segment = { epoch, rank, worldSize, startIndex: attachment.startIndex };
  const first = attachment.chainBatch;
  recordWindow(records, {
    ...segment,
    lease: attachment.lease,
    firstBatch: first,
    heads: headsOf(segment, first, attachment.nextBatch + count - first),
  });
  return { attachment, segment };
}

export function ack(
  records: SessionRecords,
  { attachment, segment }: { attachment: Attachment; segment: Segment },
  batch: number,
  checkpoint = false,
): number {
  const { epoch, rank } = segment;
  return acknowledge(records, {
    epoch,
    rank,
    lease: attachment.lease,
    batch,
    head: headOf(segment, batch),
    checkpoint,
    at: 2_000,
  });
}

export function codeOf(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    if (error instanceof DataStreamError) return error.code;
    throw error;
  }
  return "ok";
}

/** One rank of a run, attached. */
export interface Rank {
  readonly attachment: Attachment;
  readonly segment: Segment;
  /** The batch that comes next. */
  next: number;
}
