import { type DataStreamError, invalidArgument } from "../../core/errors.ts";
import type { PartContent, WrittenChunk } from "../../core/write-catalog.ts";

/** A part whose chunks are stored, ready to be committed. */
export interface WrittenPart {
  readonly size: number;
  readonly contentHash: Uint8Array;
  readonly chainingValue: Uint8Array | null;
  readonly fileCount: number;
  readonly fileBytes: number;
  readonly chunks: readonly WrittenChunk[];
  readonly unusedIntents: readonly string[];
  readonly content: PartContent;
}

/** @param received bytes seen so far; where there are too many, at least one more than declared. */
export function wrongLength(received: number, declared: number): DataStreamError {
  const amount = received < declared ? `only ${received}` : `more than ${declared}`;
  return invalidArgument("body", `has ${amount} bytes, and ${declared} were declared. Send the part again.`, {
    declared,
  });
}
