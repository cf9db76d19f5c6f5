/**
 * What a stream session remembers, as a port. The object that owns the session keeps it in a database; each
 * transition of session.ts runs alone and takes effect as a whole or not at all.
 */
import type { TailPolicy } from "./batches.ts";
import type { ParametersJson } from "./parameters.ts";

/** A transcript begins anew when any of these changes; a lease does not. */
export interface Segment {
  readonly epoch: number;
  readonly rank: number;
  readonly worldSize: number;
  /** Position of the epoch where batch 0 begins. */
  readonly startIndex: number;
}

/** How many batches each rank gets follows from this and the segment. */
export interface StreamShape {
  /** Positions of an epoch. */
  readonly count: number;
  readonly batchSize: number;
  readonly tail: TailPolicy;
}

/** What the first request fixes for good. */
export interface FixedStream {
  readonly parameters: ParametersJson;
  readonly shape: StreamShape;
}

/** Who a session belongs to: the same for all that it ever sends. */
export interface StreamIdentity {
  /** Id of the user in whose name every token of the stream was issued. */
  readonly userId: string;
  readonly streamId: string;
}

/** Who attached, and when: evidence for receipts, without effect on the session. */
export interface LeaseHolder {
  readonly tokenId: string;
  /** Id of the training node that the token is bound to; null where it is bound to none. */
  readonly nodeId: string | null;
  /** Milliseconds since 1970. */
  readonly at: number;
}

/**
 * A world of ranks. A new one voids every lease of the one before: if its world size is another, in all epochs, else in
 * those that it enters.
 */
export interface Generation {
  /** 1, 2, 3… */
  readonly number: number;
  readonly worldSize: number;
}

/** Where the ranks of a generation begin an epoch. */
export interface EpochStart {
  readonly generation: Generation;
  readonly epoch: number;
  readonly startIndex: number;
  /** The start that the requests name: another position where the generation took over from an older one. */
  readonly requestedStart: number;
}

/** The place of one rank in one epoch of a generation. */
export interface RankPlace {
  readonly generation: number;
  readonly epoch: number;
  readonly rank: number;
}

export interface RankCursor {
  /** The lease that may send and acknowledge. */
  readonly lease: number;
  /** Batches the consumer is done with, from 0 on. */
  readonly acknowledged: number;
}

/** A consumer's own signature over its transcript: see core/stream/consumer-statement.ts. */
export interface ConsumerSignature {
  /** Ed25519, 32 bytes. */
  readonly publicKey: Uint8Array;
  /** 64 bytes. */
  readonly signature: Uint8Array;
}

/** A signature that was verified, and whose key it is. */
export interface ConsumerEvidence extends ConsumerSignature {
  /** The training node that registered the key and whose token came with the signature; null: the key is self-asserted. */
  readonly nodeId: string | null;
}

/** What is remembered of a lease for good. */
export interface LeaseRecord extends RankPlace, LeaseHolder {
  readonly lease: number;
  /** The batch that was sent first under it. */
  readonly firstBatch: number;
  /** The last acknowledgement under it that advanced the rank; undefined where none did. */
  readonly acknowledgement?: LeaseAcknowledgement | undefined;
}

export interface LeaseAcknowledgement {
  /** Acknowledged batches, from 0 on. */
  readonly batches: number;
  /** Milliseconds since 1970. */
  readonly at: number;
  readonly consumer?: ConsumerEvidence | undefined;
}

/** Batches that a rank's consumer had finished when it stored a checkpoint. */
export interface Checkpoint {
  readonly rank: number;
  readonly batches: number;
}

export interface SessionRecords {
  identity(): StreamIdentity | undefined;
  /** Has no effect when the identity is known. */
  identify(identity: StreamIdentity): void;
  fixed(): FixedStream | undefined;
  fix(stream: FixedStream): void;
  /** A number that no lease of this session had before, greater than all of them. */
  nextLease(): number;
  addLease(lease: LeaseRecord): void;
  acknowledgeLease(lease: number, acknowledgement: LeaseAcknowledgement): void;
  leaseCount(): number;
  /** Of the first lease; milliseconds since 1970. */
  firstAttachedAt(): number | undefined;
  /** The latest `limit` of them, ascending. */
  leases(limit: number): readonly LeaseRecord[];

  /** The latest. */
  generation(): Generation | undefined;
  addGeneration(generation: Generation): void;
  epochStart(generation: number, epoch: number): EpochStart | undefined;
  /** Of the latest generation that entered the epoch. */
  latestEpochStart(epoch: number): EpochStart | undefined;
  addEpochStart(start: EpochStart): void;

  cursor(place: RankPlace): RankCursor | undefined;
  setCursor(place: RankPlace, cursor: RankCursor): void;
  /** Acknowledged batches of the ranks that ever attached. */
  acknowledged(generation: number, epoch: number): ReadonlyMap<number, number>;

  checkpoints(generation: number, epoch: number): readonly Checkpoint[];
  /** Keeps at least the last `keep` of the rank. */
  addCheckpoint(place: RankPlace, batches: number, keep: number): void;
  /** Forgets those with more than `batches`. */
  dropCheckpointsAfter(place: RankPlace, batches: number): void;

  /** How many transcript heads of the segment are known: those of batches 0 to this number − 1. */
  headCount(segment: Segment): number;
  /** Heads of batches `first` to `first + count − 1`, all of them known; 32 bytes each. */
  heads(segment: Segment, first: number, count: number): Uint8Array;
  /** @param heads 32 bytes each, of the batches from `headCount` on. */
  appendHeads(segment: Segment, heads: Uint8Array): void;
}
