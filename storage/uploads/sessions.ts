/** The life of an upload: created, described, aborted. Parts and completion have files of their own. */
import { checkPath, pathViolation } from "../../core/dataset/path.ts";
import { DataStreamError, invalidArgument } from "../../core/errors.ts";
import { PART_DEFAULT_BYTES, PART_MAX_BYTES, UPLOAD_LEASE_MS } from "../../core/limits.ts";
import type { NewUpload, Upload, UploadKind, UploadPart } from "../../core/write-catalog.ts";
import type { UploadDeps } from "./deps.ts";

const PART_MIN_BYTES = 1024;
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

export interface CreateUpload {
  readonly bucketId: string;
  readonly kind: UploadKind;
  /** The object's key; for a tar what precedes the path of each entry, "" for nothing. */
  readonly key: string;
  /** Of the whole object: refused before it becomes visible where it does not fit. Only an object of one part is checked. */
  readonly expectedSha256?: Uint8Array;
  /** Size of every part of an object but the last: a power of two. Default `PART_DEFAULT_BYTES`. */
  readonly partBytes?: number;
}

/** Opens an upload. @throws `invalid_argument` naming key, prefix, part_bytes or sha256. */
export async function createUpload(deps: UploadDeps, request: CreateUpload): Promise<NewUpload> {
  const { bucketId, kind, key, expectedSha256, partBytes = PART_DEFAULT_BYTES } = request;
  if (kind === "object") checkPath(key, "key");
  else checkPrefix(key);
  const isPowerOfTwo = Number.isInteger(Math.log2(partBytes));
  if (!isPowerOfTwo || partBytes < PART_MIN_BYTES || partBytes > PART_MAX_BYTES) {
    throw invalidArgument(
      "part_bytes",
      `must be a power of two from ${PART_MIN_BYTES} to ${PART_MAX_BYTES}.`,
      {
        limit: PART_MAX_BYTES,
      },
    );
  }
  if (expectedSha256 !== undefined && (kind !== "object" || expectedSha256.length !== 32))
    throw invalidArgument("sha256", "is 64 hexadecimal digits, and belongs to an upload of one object.");
  const upload: NewUpload = {
    id: crypto.randomUUID(),
    bucketId,
    kind,
    key,
    partBytes,
    expectedSha256: expectedSha256 ?? null,
    leaseExpiresAt: leaseEnd(deps),
  };
  await deps.catalog.createUpload(upload);
  return upload;
}

/** The upload and its accepted parts, in order. @throws `not_found` also where it belongs to somebody else. */
export async function describeUpload(
  deps: UploadDeps,
  uploadId: string,
  ownerId: string,
): Promise<{ readonly upload: Upload; readonly parts: readonly UploadPart[] }> {
  const upload = await requireUpload(deps, uploadId, ownerId);
  return { upload, parts: await deps.catalog.listParts(uploadId) };
}

/** Ends an upload; its bytes are collected later. Aborting again has no effect. @throws `failed_precondition` when it is complete. */
export async function abortUpload(deps: UploadDeps, uploadId: string, ownerId: string): Promise<void> {
  const state = UUID.test(uploadId) ? await deps.catalog.abortUpload(uploadId, ownerId) : undefined;
  if (state === undefined) throw unknownUpload();
  if (state === "completed") {
    throw new DataStreamError(
      "failed_precondition",
      "The upload is complete and cannot be aborted. Delete the objects instead.",
    );
  }
}

/** @throws `not_found`, the same for an upload that does not exist and for somebody else's. */
export async function requireUpload(
  deps: UploadDeps,
  uploadId: string,
  ownerId: string | undefined,
): Promise<Upload> {
  const upload = UUID.test(uploadId) ? await deps.catalog.findUpload(uploadId, ownerId) : undefined;
  if (upload === undefined) throw unknownUpload();
  return upload;
}

export function notOpen(state: Upload["state"]): DataStreamError {
  return new DataStreamError(
    "failed_precondition",
    state === "completed"
      ? "The upload is complete. Create another one to write again."
      : "The upload was aborted, or nothing touched it for too long. Create another one.",
  );
}

/** When an upload that is touched now lapses. */
export function leaseEnd(deps: UploadDeps): Date {
  return new Date(deps.clock.now() + (deps.uploadLeaseMs ?? UPLOAD_LEASE_MS));
}

function unknownUpload(): DataStreamError {
  return new DataStreamError("not_found", "There is no such upload.");
}

/** A prefix is what, with any file name behind it, is a valid key. */
function checkPrefix(prefix: string): void {
  const violation = pathViolation(`${prefix}x`);
  if (violation !== undefined)
    throw invalidArgument("prefix", `${violation}. Use names with '/' between them, or nothing.`);
}
