import { equalBytes, toHex } from "../../core/bytes.ts";
import { batchPositions, totalBatches, type BatchPlan } from "../../core/stream/batches.ts";
import type { Order } from "../../core/stream/order.ts";
import type { StreamParameters } from "../../core/stream/parameters.ts";
import { concatenatedBatchHash, framedBatchHash, Transcript } from "../../core/stream/transcript.ts";
import type { Blake3 } from "../../core/ports.ts";
import type { ManifestFile } from "../../core/dataset/manifest.ts";
import type { BatchResponse } from "../../proto/index.ts";
import { VerificationError, type Mismatch } from "../verification-error.ts";
import type { VerifiedDataset } from "./dataset.ts";

/** What one segment of a stream must look like. */
export interface Segment {
  readonly parameters: StreamParameters;
  readonly epoch: number;
  readonly plan: BatchPlan;
  readonly order: Order;
  readonly streamId: string;
}

/** What the verifier learned of a batch while it checked it. */
export interface VerifiedBatch {
  readonly indices: readonly number[];
  readonly files: readonly ManifestFile[];
  readonly paddedItems: number;
  readonly totalBatches: number;
  readonly isLast: boolean;
  readonly transcriptHead: Uint8Array;
}

/**
 * Checks every batch of a segment against the client's own manifest, order and transcript.
 * Nothing that the gateway says is used but the item bytes.
 */
export class BatchVerifier {
  readonly #dataset: VerifiedDataset;
  readonly #segment: Segment;
  readonly #blake3: Blake3;
  readonly #transcript: Transcript;
  /** False after a resume in the middle of a chain whose earlier head this process does not know. */
  #knowsHead: boolean;
  #next: number;

  /** @param firstBatch the batch that comes first; above 0 the chain is taken up from the gateway's next head. */
  constructor(dataset: VerifiedDataset, segment: Segment, blake3: Blake3, firstBatch: number) {
    this.#dataset = dataset;
    this.#segment = segment;
    this.#blake3 = blake3;
    this.#next = firstBatch;
    this.#transcript = Transcript.start(
      {
        parameters: segment.parameters,
        epoch: segment.epoch,
        rank: segment.plan.rank,
        worldSize: segment.plan.worldSize,
        startIndex: segment.plan.start,
      },
      blake3,
    );
    this.#knowsHead = firstBatch === 0;
  }

  get nextBatch(): number {
    return this.#next;
  }

  /**
   * Brings the chain up to the first batch from the manifest alone: no data is needed, so a resumed
   * stream is checked as strictly as an unbroken one. Takes time in proportion to the batches skipped.
   */
  async catchUp(): Promise<void> {
    if (this.#knowsHead) return;
    for (let index = 0; index < this.#next; index++) {
      const { indices } = this.#expected(index);
      const files = await this.#dataset.files(indices);
      this.#transcript.advance(
        index,
        indices,
        files.map((file) => file.contentHash),
      );
    }
    this.#knowsHead = true;
  }

  /** @throws VerificationError naming the first thing that differs; the verifier must not be used after it. */
  async verify(message: BatchResponse): Promise<VerifiedBatch> {
    const index = this.#next;
    const total = totalBatches(this.#segment.plan);
    if (index >= total)
      throw this.#mismatch("batch index", `the end after ${total} batches`, String(message.batchIndex));
    this.#same("batch index", index, Number(message.batchIndex));
    this.#same("stream", this.#segment.streamId, message.streamId);
    this.#same("stream", `epoch ${this.#segment.epoch}`, `epoch ${message.epoch}`);
    this.#same("total batches", total, Number(message.totalBatches));
    const isLast = index === total - 1;
    this.#same("is_last", isLast, message.isLast);

    const { indices, padded } = this.#expected(index);
    this.#same("order", indices.join(), message.itemIndices.join());
    this.#same("order", `${padded} padded items`, `${message.paddedItems} padded items`);
    this.#same("order", `${indices.length} items`, `${message.items.length} items`);
    this.#same("item hash", `${indices.length} hashes`, `${message.itemHashes.length} hashes`);
    const files = await this.#dataset.files(indices);
    this.#verifyItems(message, indices, files);
    this.#verifyBatchHash(message, files);

    await this.catchUp();
    const head = this.#transcript.advance(
      index,
      indices,
      files.map((file) => file.contentHash),
    );
    this.#hash("transcript", head, message.transcriptHead, { batch: index });
    this.#next = index + 1;
    return { indices, files, paddedItems: padded, totalBatches: total, isLast, transcriptHead: head };
  }

  #expected(index: number): { indices: number[]; padded: number } {
    const { positions, padded } = batchPositions(this.#segment.plan, index);
    return { indices: positions.map((position) => this.#segment.order.itemAt(position)), padded };
  }

  #verifyItems(message: BatchResponse, indices: readonly number[], files: readonly ManifestFile[]): void {
    for (const [i, file] of files.entries()) {
      const where = { batch: this.#next, item: indices[i] as number, path: file.path };
      const item = message.items[i] as Uint8Array;
      this.#hash("item hash", file.contentHash, message.itemHashes[i] as Uint8Array, where);
      this.#hash("item", file.contentHash, this.#blake3.hash(item), where);
    }
  }

  #verifyBatchHash(message: BatchResponse, files: readonly ManifestFile[]): void {
    const own =
      this.#segment.parameters.batchHash === "framed"
        ? framedBatchHash(
            this.#next,
            files.map((file) => file.size),
            files.map((file) => file.contentHash),
            this.#blake3,
          )
        : concatenatedBatchHash(message.items, this.#blake3);
    this.#hash("batch hash", own, message.batchHash, { batch: this.#next });
  }

  #hash(
    subject: Mismatch["subject"],
    expected: Uint8Array,
    actual: Uint8Array,
    where: Partial<Mismatch>,
  ): void {
    if (equalBytes(expected, actual)) return;
    throw new VerificationError({ ...where, subject, expected: toHex(expected), actual: toHex(actual) });
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
