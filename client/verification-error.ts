import { equalBytes, toHex } from "../core/bytes.ts";
import { DataStreamError } from "../core/errors.ts";

/** What did not agree with what the client knows by itself. */
export type VerifiedSubject =
  | "name"
  | "content hash"
  | "schema"
  | "version"
  | "manifest"
  | "item"
  | "item hash"
  | "order"
  | "batch hash"
  | "batch index"
  | "total batches"
  | "is_last"
  | "transcript"
  | "stream";

/** Where a mismatch was found; hashes are hexadecimal. */
export interface Mismatch {
  readonly subject: VerifiedSubject;
  readonly expected: string;
  readonly actual: string;
  /** Index of the item in the manifest. */
  readonly item?: number;
  readonly path?: string;
  readonly batch?: number;
}

/**
 * The gateway sent something that contradicts the pinned manifest, the order or
 * the transcript. The data in question was not handed to the consumer. Not
 * retryable: another attempt would ask the same gateway.
 */
export class VerificationError extends DataStreamError {
  readonly mismatch: Mismatch;

  constructor(mismatch: Mismatch) {
    const where = [
      mismatch.batch === undefined ? "" : ` in batch ${mismatch.batch}`,
      mismatch.item === undefined ? "" : ` at item ${mismatch.item}`,
      mismatch.path === undefined ? "" : ` (${mismatch.path})`,
    ].join("");
    super(
      "data_loss",
      `Verification failed: ${mismatch.subject}${where}: expected ${mismatch.expected}, got ${mismatch.actual}. Nothing of it was delivered.`,
      { details: { ...mismatch } },
    );
    this.mismatch = mismatch;
  }
}

/** @throws VerificationError unless both hashes are the same. */
export function requireHash(
  subject: VerifiedSubject,
  expected: Uint8Array,
  actual: Uint8Array,
  where: Partial<Mismatch>,
): void {
  if (equalBytes(expected, actual)) return;
  throw new VerificationError({ ...where, subject, expected: toHex(expected), actual: toHex(actual) });
}
