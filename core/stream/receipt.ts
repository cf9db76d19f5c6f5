/**
 * Receipts: what a stream was sent and what its consumers acknowledged, as the session knows it. The format, and what
 * a receipt proves, are in docs/formats/receipt-v1.md.
 */
import { toHex } from "../bytes.ts";
import { toBase64 } from "../base64.ts";
import { DataStreamError } from "../errors.ts";
import type { ParametersJson } from "./parameters.ts";
import { voidedAcknowledgements, type VoidedAcknowledgement } from "./receipt-voids.ts";
import type { EpochStart, LeaseRecord, Segment, SessionRecords } from "./session-records.ts";

export const RECEIPT_TYPE: string = "application/vnd.cyxcloud.stream-receipt.v1+json";

/** The payload of the envelope, in canonical JSON. Hashes are lowercase hexadecimal, times ISO 8601. */
export interface Receipt extends SessionReceipt {
  /** `iss` of the gateway's access tokens. */
  readonly issuer: string;
  readonly issued_at: string;
}

/** What the session contributes. */
export interface SessionReceipt {
  readonly format: 1;
  /** In whose name the tokens were issued. */
  readonly user_id: string;
  readonly stream_id: string;
  /** When the first request attached. */
  readonly started_at: string;
  readonly parameters: ParametersJson;
  /** Positions of an epoch: the files of the dataset, or of the filter's view. */
  readonly item_count: number;
  /** Older leases that are not listed, because a receipt lists a limited number. */
  readonly omitted_leases: number;
  /** By generation, epoch and rank. */
  readonly segments: readonly SegmentReceipt[];
}

/** The batches of one rank in one epoch of one generation: a transcript of its own. */
export interface SegmentReceipt {
  readonly generation: number;
  readonly epoch: number;
  readonly rank: number;
  readonly world_size: number;
  readonly start_index: number;
  /** Batches whose place in the transcript was fixed, which comes before sending: no later one was sent. */
  readonly prepared_batches: number;
  /** The head after the last of them; null for none. */
  readonly prepared_head: string | null;
  /** The prefix that is acknowledged and stands. */
  readonly acknowledged_batches: number;
  readonly acknowledged_head: string | null;
  /** By number. */
  readonly leases: readonly LeaseReceipt[];
}

/** One request that attached, or one that went on for it. */
export interface LeaseReceipt {
  readonly lease: number;
  readonly token_id: string;
  /** The training node that the token is bound to. */
  readonly node_id: string | null;
  readonly attached_at: string;
  /** The batch sent first. */
  readonly first_batch: number;
  /** The last acknowledgement that advanced the rank. */
  readonly acknowledgement: AcknowledgementReceipt | null;
}

export interface AcknowledgementReceipt {
  /** Batches from 0 on, also those before `first_batch`, which another lease was sent or the consumer had. */
  readonly batches: number;
  readonly head: string;
  readonly at: string;
  /** What of it no longer stands, and which lease took it back. */
  readonly void: VoidedAcknowledgement | null;
  /** The consumer's own signature over the head, if it gave one. */
  readonly consumer: ReceiptConsumer | null;
}

export interface ReceiptConsumer {
  /** Ed25519, base64, as the signature. */
  readonly public_key: string;
  readonly signature: string;
  /** The training node that registered the key; null: nobody did, as far as the gateway saw, so it is self-asserted. */
  readonly node_id: string | null;
}

/**
 * The receipt as of now.
 * @param limit leases that are listed at most: the latest.
 * @throws `not_found` when nothing was streamed.
 */
export function sessionReceipt(records: SessionRecords, limit: number): SessionReceipt {
  const fixed = records.fixed();
  const identity = records.identity();
  const leases = records.leases(limit);
  const first = leases[0];
  if (fixed === undefined || identity === undefined || first === undefined) throw unknownStream();
  const { count, batchSize } = fixed.shape;
  const starts = new Starts(records);
  const voids = voidedAcknowledgements(
    leases.map((each) => ({
      ...each,
      ...starts.segmentOf(each),
      acknowledged: each.acknowledgement?.batches ?? 0,
    })),
    { count, batchSize },
  );
  const bySegment = new Map<string, LeaseRecord[]>();
  for (const each of leases) {
    const key = [each.generation, each.epoch, each.rank].join();
    const others = bySegment.get(key);
    if (others === undefined) bySegment.set(key, [each]);
    else others.push(each);
  }
  return {
    format: 1,
    user_id: identity.userId,
    stream_id: identity.streamId,
    started_at: time(records.firstAttachedAt() ?? first.at),
    parameters: fixed.parameters,
    item_count: count,
    omitted_leases: records.leaseCount() - leases.length,
    segments: [...bySegment.values()]
      .map((group) => segmentReceipt(records, starts, group, voids))
      .toSorted((a, b) => a.generation - b.generation || a.epoch - b.epoch || a.rank - b.rank),
  };
}

/** The one answer to a stream that does not exist, is forgotten, or is somebody else's. */
export function unknownStream(): DataStreamError {
  return new DataStreamError(
    "not_found",
    "stream_id: there is no such stream of yours of this dataset version. Name the version that was streamed.",
    { details: { field: "stream_id" } },
  );
}

function segmentReceipt(
  records: SessionRecords,
  starts: Starts,
  leases: readonly LeaseRecord[],
  voids: ReadonlyMap<number, VoidedAcknowledgement>,
): SegmentReceipt {
  const place = leases[0] as LeaseRecord;
  const segment = starts.segmentOf(place);
  const headAfter = (batches: number): string | null =>
    batches === 0 ? null : toHex(records.heads(segment, batches - 1, 1));
  const prepared = records.headCount(segment);
  const standing = leases.map(({ lease, acknowledgement }) =>
    Math.min(acknowledgement?.batches ?? 0, voids.get(lease)?.from_batch ?? Number.POSITIVE_INFINITY),
  );
  const acknowledged = Math.max(...standing);
  return {
    generation: place.generation,
    epoch: segment.epoch,
    rank: segment.rank,
    world_size: segment.worldSize,
    start_index: segment.startIndex,
    prepared_batches: prepared,
    prepared_head: headAfter(prepared),
    acknowledged_batches: acknowledged,
    acknowledged_head: headAfter(acknowledged),
    leases: leases.map((each) => ({
      lease: each.lease,
      token_id: each.tokenId,
      node_id: each.nodeId,
      attached_at: time(each.at),
      first_batch: each.firstBatch,
      acknowledgement: each.acknowledgement
        ? {
            batches: each.acknowledgement.batches,
            head: headAfter(each.acknowledgement.batches) as string,
            at: time(each.acknowledgement.at),
            void: voids.get(each.lease) ?? null,
            consumer: each.acknowledgement.consumer
              ? {
                  public_key: toBase64(each.acknowledgement.consumer.publicKey),
                  signature: toBase64(each.acknowledgement.consumer.signature),
                  node_id: each.acknowledgement.consumer.nodeId,
                }
              : null,
          }
        : null,
    })),
  };
}

/** Where each generation began each epoch, looked up once. */
class Starts {
  readonly #records: SessionRecords;
  readonly #known = new Map<string, EpochStart>();

  constructor(records: SessionRecords) {
    this.#records = records;
  }

  segmentOf({ generation, epoch, rank }: LeaseRecord): Segment {
    const key = `${generation},${epoch}`;
    let start = this.#known.get(key);
    if (start === undefined) {
      start = this.#records.epochStart(generation, epoch);
      if (start === undefined)
        throw new DataStreamError("internal", "A lease of the stream belongs to no generation.");
      this.#known.set(key, start);
    }
    return { epoch, rank, worldSize: start.generation.worldSize, startIndex: start.startIndex };
  }
}

function time(at: number): string {
  return new Date(at).toISOString();
}
