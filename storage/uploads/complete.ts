/** Completion: the one transaction in which everything that an upload staged becomes visible. */
import { equalBytes, toHex } from "../../core/bytes.ts";
import { DataStreamError, invalidArgument } from "../../core/errors.ts";
import { SqlError } from "../../core/ports.ts";
import type {
  CommitRefusal,
  CompleteUpload,
  Upload,
  UploadPart,
  UploadResult,
} from "../../core/write-catalog.ts";
import { joinSubtrees } from "./compose-hash.ts";
import type { UploadDeps } from "./deps.ts";
import { notOpen, requireUpload } from "./sessions.ts";

export interface CompleteRequest {
  readonly uploadId: string;
  /** Undefined for uploads of the service itself. */
  readonly ownerId: string | undefined;
  /** Number of parts; all of 1 … parts must have been accepted, and no other. */
  readonly parts: number;
  /** BLAKE3 of the whole object, where the caller knows it. */
  readonly contentHash?: Uint8Array;
}

/** Parts accepted while completion looks at them make it look again, so often. */
const ATTEMPTS = 4;

/**
 * Makes the upload visible, replacing what its keys named. Repeating it answers the same.
 * @throws `not_found`, `failed_precondition` when parts are missing or the upload was aborted, `invalid_argument`
 *   naming parts, content_hash or sha256 (then nothing became visible), `unavailable`
 */
export async function completeUpload(deps: UploadDeps, request: CompleteRequest): Promise<UploadResult> {
  for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
    // The revision is read before the parts, so that parts newer than it are noticed.
    const upload = await requireUpload(deps, request.uploadId, request.ownerId);
    if (upload.result !== null) return sameContent(upload.result, request.contentHash);
    if (upload.state !== "open") throw notOpen(upload.state);
    const parts = await deps.catalog.listParts(upload.id);
    checkParts(upload, parts, request.parts);
    const completion = await compose(deps, upload, parts, request.contentHash);
    if ((await commit(deps, completion)) === "committed") return completion.result;
  }
  throw new DataStreamError(
    "aborted",
    "Parts of the upload keep changing. Complete it when all parts are sent.",
  );
}

async function commit(deps: UploadDeps, completion: CompleteUpload): Promise<"committed" | CommitRefusal> {
  try {
    return await deps.catalog.completeUpload(completion);
  } catch (error) {
    if (error instanceof SqlError) throw error;
    // The answer was lost, the commit perhaps not. If it is still to come, the caller's retry finds it.
    const { state } = await requireUpload(deps, completion.upload.id, undefined);
    if (state === "completed") return "committed";
    throw new DataStreamError("unavailable", "The upload could not be completed. Try again.", {
      cause: error,
    });
  }
}

async function compose(
  deps: UploadDeps,
  upload: Upload,
  parts: readonly UploadPart[],
  contentHash: Uint8Array | undefined,
): Promise<CompleteUpload> {
  const sum = (value: (part: UploadPart) => number): number =>
    parts.reduce((total, part) => total + value(part), 0);
  const totals = {
    objects: upload.kind === "object" ? 1 : sum(({ fileCount }) => fileCount),
    bytes: sum(({ fileBytes }) => fileBytes),
    chunks: sum(({ chunkCount }) => chunkCount),
    degraded_chunks: sum(({ degradedCount }) => degradedCount),
  };
  if (upload.kind === "tar") {
    if (contentHash !== undefined)
      throw invalidArgument("content_hash", "belongs to an upload of one object.");
    return { upload, revision: upload.revision, result: totals };
  }
  const [first] = parts as [UploadPart, ...UploadPart[]];
  const hash =
    parts.length === 1
      ? first.contentHash
      : joinSubtrees(
          deps.kernels.blake3,
          parts.map(({ chainingValue }) => chainingValue as Uint8Array),
          true,
        );
  if (contentHash !== undefined) checkHash("content_hash", "BLAKE3", contentHash, hash);
  const sha256 = parts.length === 1 ? (await deps.catalog.findStagedObject(upload.id)).sha256 : null;
  if (sha256 !== null && upload.expectedSha256 !== null)
    checkHash("sha256", "SHA-256", upload.expectedSha256, sha256);
  return {
    upload,
    revision: upload.revision,
    object: { size: totals.bytes, contentHash: hash, keepSha256: sha256 !== null },
    result: {
      ...totals,
      object: {
        bucket: upload.bucketName,
        key: upload.key,
        size: totals.bytes,
        content_hash: toHex(hash),
        sha256: sha256 && toHex(sha256),
      },
    },
  };
}

function checkParts(upload: Upload, parts: readonly UploadPart[], count: number): void {
  if (!Number.isInteger(count) || count < (upload.kind === "object" ? 1 : 0))
    throw invalidArgument(
      "parts",
      "must be the number of parts; an object has at least one, even an empty one.",
    );
  const missing = Array.from({ length: count }, (_, i) => i + 1).find((n, i) => parts[i]?.partNumber !== n);
  if (missing !== undefined) {
    throw new DataStreamError(
      "failed_precondition",
      `Part ${missing} of ${count} is missing. Send it, then complete.`,
      {
        details: { part_number: missing },
      },
    );
  }
  if (parts.length > count) {
    throw invalidArgument("parts", `is ${count}, and part ${parts.at(-1)?.partNumber} was accepted too.`, {
      accepted: parts.length,
    });
  }
  if (upload.kind === "tar") return;
  const short = parts.slice(0, -1).find(({ size }) => size !== upload.partBytes);
  if (short !== undefined) {
    throw new DataStreamError(
      "failed_precondition",
      `Part ${short.partNumber} has ${short.size} bytes; every part but the last must have exactly ${upload.partBytes}. Send it again.`,
      { details: { part_number: short.partNumber, part_bytes: upload.partBytes } },
    );
  }
}

function sameContent(result: UploadResult, contentHash: Uint8Array | undefined): UploadResult {
  if (contentHash !== undefined && result.object?.content_hash !== toHex(contentHash))
    throw invalidArgument("content_hash", "is not that of the object that this upload completed with.");
  return result;
}

function checkHash(field: string, algorithm: string, expected: Uint8Array, actual: Uint8Array): void {
  if (equalBytes(expected, actual)) return;
  throw invalidArgument(
    field,
    `the object's ${algorithm} is ${toHex(actual)}, not ${toHex(expected)}. Nothing became visible; send the parts again.`,
    { actual: toHex(actual), expected: toHex(expected) },
  );
}
