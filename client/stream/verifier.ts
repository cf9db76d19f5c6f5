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

  /** @throws VerificationError naming the first thing that differs; the verifier must not be used after it. */
  async verify(message: BatchResponse): Promise<ExpectedBatch> {
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
    this.#same("order", indices.join(), message.itemIndices.join());
    this.#same("order", `${padded} padded items`, `${message.paddedItems} padded items`);
    this.#same("order", `${indices.length} items`, `${message.items.length} items`);
    this.#same("item hash", `${indices.length} hashes`, `${message.itemHashes.length} hashes`);
    const files = await this.#dataset.files(indices);
    this.#verifyHashes(message, indices, files);

    await this.#catchUp();
    const headBefore = this.#transcript.head;
    const transcriptHead = this.#advance(index, indices, files);
    requireHash("transcript", transcriptHead, message.transcriptHead, { batch: index });
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
      this.#advance(index, indices, await this.#dataset.files(indices));
    }
    this.#knowsHead = true;
  }

  #advance(index: number, indices: readonly number[], files: readonly ManifestFile[]): Uint8Array {
    return this.#transcript.advance(
      index,
      indices,
      files.map((file) => file.contentHash),
    );
  }

  #expected(index: number): { indices: number[]; padded: number } {
    const { positions, padded } = batchPositions(this.#segment.plan, index);
    return { indices: positions.map((position) => this.#segment.order.itemAt(position)), padded };
  }

  #verifyHashes(message: BatchResponse, indices: readonly number[], files: readonly ManifestFile[]): void {
    const batch = this.#next;
    for (const [i, file] of files.entries()) {
      const where = { batch, item: indices[i] as number, path: file.path };
      requireHash("item hash", file.contentHash, message.itemHashes[i] as Uint8Array, where);
    }
    if (this.#segment.parameters.batchHash !== "framed") return;
    const sizes = files.map((file) => file.size);
    const hashes = files.map((file) => file.contentHash);
    requireHash("batch hash", framedBatchHash(batch, sizes, hashes, this.#blake3), message.batchHash, {
      batch,
    });
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
