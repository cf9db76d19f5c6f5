/** Accepts one part: stored first, committed in one transaction, acknowledged last. */
import { DataStreamError, invalidArgument } from "../../core/errors.ts";
import { PART_MAX_BYTES, PARTS_MAX } from "../../core/limits.ts";
import { SqlError } from "../../core/ports.ts";
import type { CommitRefusal, PartCommit, Upload, UploadPart } from "../../core/write-catalog.ts";
import { quoted } from "../../core/text.ts";
import { bodyPieces, PieceSource } from "../byte-source.ts";
import type { UploadDeps } from "./deps.ts";
import { writeObjectPart } from "./object-part.ts";
import { leaseEnd, notOpen, requireUpload } from "./sessions.ts";
import { writeTarPart } from "./tar-part.ts";
import { type WrittenPart, wrongLength } from "./written-part.ts";

export interface PutPart {
  readonly uploadId: string;
  readonly ownerId: string;
  /** From 1. */
  readonly partNumber: number;
  readonly body: ReadableStream<Uint8Array>;
  /** Bytes that the body must hold. */
  readonly declaredLength: number;
  readonly signal?: AbortSignal;
}

/**
 * Stores a part. The same number again replaces it; parts may come in any order and at once.
 * When this returns the part is durable; it is visible when the upload is completed. After `unavailable` or a lost
 * answer, send the part again. The body is cancelled when the part is refused.
 *
 * @throws `not_found`, `failed_precondition` when the upload is not open, `invalid_argument` naming part_number, body
 *   or path, `unavailable` below the write quorum, `resource_exhausted`, `canceled`
 */
export async function putPart(deps: UploadDeps, request: PutPart): Promise<UploadPart> {
  const { uploadId, ownerId, partNumber, declaredLength, signal } = request;
  const pieces = bodyPieces(request.body);
  try {
    const upload = await requireUpload(deps, uploadId, ownerId);
    checkPart(upload, partNumber, declaredLength);
    const written =
      upload.kind === "object"
        ? await writeDeclared(deps, upload, partNumber, new PieceSource(pieces.pull), declaredLength, signal)
        : await writeTarPart(deps, upload, pieces.pull, declaredLength, signal);
    return await commitWrittenPart(deps, upload, partNumber, written);
  } catch (error) {
    await pieces.cancel(error);
    throw error;
  }
}

async function writeDeclared(
  deps: UploadDeps,
  upload: Upload,
  partNumber: number,
  source: PieceSource,
  declaredLength: number,
  signal: AbortSignal | undefined,
): Promise<WrittenPart> {
  const written = await writeObjectPart(deps, upload, partNumber, source, declaredLength, signal);
  const received = written.size + (await source.readInto(new Uint8Array(1)));
  if (received !== declaredLength) throw wrongLength(received, declaredLength);
  return written;
}

/** The commit point. @throws `unavailable` when the part is known not to be committed, or nothing is known. */
export async function commitWrittenPart(
  deps: UploadDeps,
  upload: Upload,
  partNumber: number,
  written: WrittenPart,
): Promise<UploadPart> {
  const { chunks, unusedIntents, content, ...facts } = written;
  const part: UploadPart = {
    ...facts,
    partNumber,
    attempt: crypto.randomUUID(),
    chunkCount: chunks.length,
    degradedCount: chunks.filter(({ shards }) => shards.some(({ stored }) => !stored)).length,
  };
  const commit: PartCommit = { upload, part, chunks, unusedIntents, content, leaseExpiresAt: leaseEnd(deps) };
  const outcome = await commitOrSettle(deps, commit);
  if (outcome !== "committed") throw await refusal(deps, upload, outcome);
  return part;
}

async function commitOrSettle(deps: UploadDeps, commit: PartCommit): Promise<"committed" | CommitRefusal> {
  try {
    return await deps.catalog.commitPart(commit);
  } catch (error) {
    if (error instanceof SqlError) throw error;
    // The answer was lost, the commit perhaps not.
    if (await deps.catalog.settlePart(commit, new Date(deps.clock.now()))) return "committed";
    throw new DataStreamError("unavailable", "The part could not be committed. Send it again.", {
      cause: error,
    });
  }
}

async function refusal(deps: UploadDeps, upload: Upload, outcome: CommitRefusal): Promise<DataStreamError> {
  switch (outcome.refused) {
    case "not-open":
      return notOpen((await requireUpload(deps, upload.id, undefined)).state);
    case "duplicate":
      return invalidArgument("path", `${quoted(outcome.key)} is in another part of this upload already.`, {
        path: outcome.key,
      });
    default:
      return new DataStreamError("unavailable", "The part took too long. Send it again.");
  }
}

function checkPart(upload: Upload, partNumber: number, declaredLength: number): void {
  if (upload.state !== "open") throw notOpen(upload.state);
  if (!Number.isInteger(partNumber) || partNumber < 1 || partNumber > PARTS_MAX) {
    throw invalidArgument("part_number", `must be a whole number from 1 to ${PARTS_MAX}.`, {
      limit: PARTS_MAX,
    });
  }
  const limit = upload.kind === "object" ? upload.partBytes : PART_MAX_BYTES;
  if (!Number.isInteger(declaredLength) || declaredLength < 0 || declaredLength > limit)
    throw invalidArgument("body", `must have at most ${limit} bytes. Cut it into more parts.`, { limit });
}
