/** The isomorphic client of CyxCloud DataStream. */
export { DataStreamClient, type DataStreamClientOptions } from "./client.ts";
export { DataStreamError, type ErrorCode } from "../core/errors.ts";
export { VerificationError, type Mismatch, type VerifiedSubject } from "./verification-error.ts";
export { MemoryPinStore, type Pin, type Pins, type PinStore } from "./pins.ts";
export { DEFAULT_RETRY, type RetryPolicy } from "./backoff.ts";
export type {
  AccessToken,
  CreateDataset,
  Dataset,
  DatasetFile,
  Verification,
  VerifyDepth,
} from "./datasets.ts";
export { Keys, type Evidence, type KnownKeyEntry, type KnownKeyScope, type SigningKey } from "./keys.ts";
export { parseKnownKeys, type KnownKey } from "../core/trust/known-keys.ts";
export type { Job } from "./jobs.ts";
export type { BucketOptions, StoredObject } from "./objects.ts";
export type { NewPublicDataset, PublicDataset, PublicDatasetWithFiles, PublishedFile } from "./registry.ts";
export type { UploadFile, UploadOptions, UploadProgress, UploadResult } from "./uploads.ts";
export type { Batch, StreamPosition } from "./stream/batch.ts";
export type { StreamOptions } from "./stream/options.ts";
export type { BatchMessages, BatchSource, SourceContext } from "./stream/source.ts";
export { fetchSource } from "./stream/source.ts";
export type { ItemChecker, UncheckedBatch } from "./stream/checker.ts";
export type { Segment } from "./stream/verifier.ts";
export { mixBatches, type MixedBatch, type MixedStream, type MixOptions } from "./mixing/mix.ts";
export type { ExhaustedPolicy } from "./mixing/plan.ts";
export type { MixPosition } from "./mixing/position.ts";
export { Mixing, type MixedPlace } from "../core/stream/mixing.ts";
export type { VerifiedDataset } from "./stream/dataset.ts";
export { readReceipt, verifyReceipt } from "./receipts.ts";
export type { ReceiptEvidence, VerifiedReceipt } from "../core/stream/receipt-verify.ts";
export type { AttestorList } from "./attestors.ts";
export type { ApiKey, NewApiKey, Role, User } from "./users.ts";
