import type { BatchResponse } from "../../proto/index.ts";

/** Where a consumer stands: small, JSON, and enough to go on at any world size. */
export interface StreamPosition {
  readonly epoch: number;
  /** Position in the epoch's order where batch 0 of the segment begins. */
  readonly start_index: number;
  /** The next batch to receive, counted from `start_index`. */
  readonly batch_index: number;
  readonly world_size: number;
  readonly batch_size: number;
}

/** A verified batch. Item bytes belong to the consumer: nothing overwrites them. */
export interface Batch {
  /** As the source gave it. */
  readonly message: BatchResponse;
  readonly index: number;
  readonly epoch: number;
  readonly items: readonly Uint8Array[];
  /** Index of each item in the manifest. */
  readonly indices: readonly number[];
  readonly paths: readonly string[];
  /** BLAKE3 of each item, 32 bytes. */
  readonly itemHashes: readonly Uint8Array[];
  /** Class index of each item, where the schema takes labels from paths. */
  readonly labels: readonly number[] | undefined;
  /** How many items at the end repeat earlier ones to fill the batch. */
  readonly paddedItems: number;
  readonly totalBatches: number;
  readonly isLast: boolean;
  readonly streamId: string;
  /** The client's own transcript head after this batch. */
  readonly transcriptHead: Uint8Array;
  /** Store this with the model: a stream that starts here sends the batch after this one. */
  readonly position: StreamPosition;
  /**
   * Tells the gateway that this batch and all before it are done with. Happens by itself when the
   * next batch is asked for, unless `acknowledge` is "manual".
   * @param options.checkpoint the position was stored: a new world size may start here.
   */
  acknowledge(options?: { checkpoint?: boolean }): Promise<void>;
}
