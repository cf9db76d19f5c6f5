import { equalBytes } from "../../core/bytes.ts";
import { batchPositions, totalBatches, type BatchPlan } from "../../core/stream/batches.ts";
import type { Order } from "../../core/stream/order.ts";
import type { StreamParameters } from "../../core/stream/parameters.ts";
import { framedBatchHash, Transcript } from "../../core/stream/transcript.ts";
import type { Blake3 } from "../../core/ports.ts";
import type { ManifestFile } from "../../core/dataset/manifest.ts";
import type { BatchResponse } from "../../proto/index.ts";
import { requireHash, VerificationError, type Mismatch } from "../verification-error.ts";
import type { UncheckedBatch } from "./checker.ts";
import type { VerifiedDataset } from "./dataset.ts";

/** What one segment of a stream must look like. */
export interface Segment {
  readonly parameters: StreamParameters;
  readonly epoch: number;
  readonly plan: BatchPlan;
  readonly order: Order;
  readonly streamId: string;
}

/** A batch that is the expected one by all that the gateway says of it. */
export interface ExpectedBatch extends UncheckedBatch {
  readonly startIndex: number;
  readonly totalBatches: number;
  readonly isLast: boolean;
  /** The client's own, before and after this batch. */
  readonly headBefore: Uint8Array;
  readonly transcriptHead: Uint8Array;
}

/**
 * Checks every batch of a segment against the client's own manifest, order and transcript: all but the bytes of the
 * items, which are an `ItemChecker`'s. Nothing that the gateway says is used.
 */
export class BatchVerifier {
  readonly #dataset: VerifiedDataset;
  readonly #segment: Segment;
  readonly #blake3: Blake3;
  #transcript: Transcript;
  /** False after a resume in the middle of a chain whose earlier head this process does not know. */
  #knowsHead: boolean;
  #next: number;

  /** @param firstBatch the batch that comes first; above 0 the chain is brought up to it from the manifest. */
  constructor(dataset: VerifiedDataset, segment: Segment, blake3: Blake3, firstBatch: number) {
    this.#dataset = dataset;
    this.#segment = segment;
    this.#blake3 = blake3;
    this.#next = firstBatch;
    const { parameters, epoch, plan } = segment;
    const { rank, worldSize, start: startIndex } = plan;
    this.#transcript = Transcript.start({ parameters, epoch, rank, worldSize, startIndex }, blake3);
    this.#knowsHead = firstBatch === 0;
  }

  get segment(): Segment {
    return this.#segment;
  }

  get nextBatch(): number {
    return this.#next;
  }

  /**
   * @param isLocal the message did not come from the gateway: there is no transcript head to compare.
   * @throws VerificationError naming the first thing that differs; the verifier must not be used after it.
   */
  async verify(message: BatchResponse, isLocal: boolean = false): Promise<ExpectedBatch> {
    const index = this.#next;
    const { epoch, plan, streamId } = this.#segment;
    const total = totalBatches(plan);
    if (index >= total)
      throw this.#mismatch("batch index", `the end after ${total} batches`, String(message.batchIndex));
    this.#same("batch index", index, Number(message.batchIndex));
    this.#same("stream", streamId, message.streamId);
    this.#same("stream", `epoch ${epoch}`, `epoch ${message.epoch}`);
    this.#same("total batches", total, Number(message.totalBatches));
    const isLast = index === total - 1;
    this.#same("is_last", isLast, message.isLast);

    const { indices, padded } = this.#expected(index);
    if (!sameIndices(indices, message.itemIndices))
      throw this.#mismatch("order", indices.join(), message.itemIndices.join());
    this.#same("order", `${padded} padded items`, `${message.paddedItems} padded items`);
    this.#same("order", `${indices.length} items`, `${message.items.length} items`);
    this.#same("item hash", `${indices.length} hashes`, `${message.itemHashes.length} hashes`);
    const files = await this.#dataset.files(indices);
    const hashes = files.map(({ contentHash }) => contentHash);
    this.#verifyHashes(message, indices, files, hashes);

    await this.#catchUp();
    const headBefore = this.#transcript.head;
    const transcriptHead = this.#transcript.advance(index, indices, hashes);
    // The chain goes on, so the head of the next batch that does come from the gateway covers this one, too.
    if (!isLocal) requireHash("transcript", transcriptHead, message.transcriptHead, { batch: index });
    this.#next = index + 1;
    return {
      message,
      epoch,
      index,
      indices,
      files,
      paddedItems: padded,
      startIndex: plan.start,
      totalBatches: total,
      isLast,
      headBefore,
      transcriptHead,
    };
  }

  /** Expects a batch once more, and what follows it. */
  returnTo({ index, headBefore }: ExpectedBatch): void {
    this.#next = index;
    this.#transcript = Transcript.resume(headBefore, this.#blake3);
  }

  /**
   * Brings the chain up to the first batch from the manifest alone: no data is needed, so a resumed
   * stream is checked as strictly as an unbroken one. Takes time in proportion to the batches skipped.
   */
  async #catchUp(): Promise<void> {
    if (this.#knowsHead) return;
    for (let index = 0; index < this.#next; index++) {
      const { indices } = this.#expected(index);
      const files = await this.#dataset.files(indices);
      this.#transcript.advance(
        index,
        indices,
        files.map(({ contentHash }) => contentHash),
      );
    }
    this.#knowsHead = true;
  }

  #expected(index: number): { indices: number[]; padded: number } {
    const { positions, padded } = batchPositions(this.#segment.plan, index);
    return { indices: positions.map((position) => this.#segment.order.itemAt(position)), padded };
  }

  #verifyHashes(
    message: BatchResponse,
    indices: readonly number[],
    files: readonly ManifestFile[],
    hashes: readonly Uint8Array[],
  ): void {
    const batch = this.#next;
    for (const [i, expected] of hashes.entries()) {
      const actual = message.itemHashes[i] as Uint8Array;
      if (equalBytes(expected, actual)) continue;
      const where = { batch, item: indices[i] as number, path: (files[i] as ManifestFile).path };
      requireHash("item hash", expected, actual, where);
    }
    if (this.#segment.parameters.batchHash !== "framed") return;
    const sizes = files.map(({ size }) => size);
    const own = framedBatchHash(batch, sizes, hashes, this.#blake3);
    requireHash("batch hash", own, message.batchHash, { batch });
  }

  #same(
    subject: Mismatch["subject"],
    expected: string | number | boolean,
    actual: string | number | boolean,
  ): void {
    if (expected !== actual) throw this.#mismatch(subject, String(expected), String(actual));
  }

  #mismatch(subject: Mismatch["subject"], expected: string, actual: string): VerificationError {
    const shorten = (text: string): string => (text.length > 200 ? `${text.slice(0, 200)}…` : text);
    return new VerificationError({
      subject,
      batch: this.#next,
      expected: shorten(expected),
      actual: shorten(actual),
    });
  }
}

function sameIndices(expected: readonly number[], actual: readonly bigint[]): boolean {
  return actual.length === expected.length && expected.every((index, i) => Number(actual[i]) === index);
}
