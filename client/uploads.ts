import { toHex } from "../core/bytes.ts";
import { DataStreamError, invalidArgument } from "../core/errors.ts";
import type { Blake3 } from "../core/ports.ts";
import { path, type Gateway } from "./http.ts";
import type { StoredObject } from "./objects.ts";

/** A file to upload. In Node, `fs.openAsBlob` gives a Blob that reads from disk as it is needed. */
export interface UploadFile {
  /** Relative, segments separated by `/`. */
  readonly path: string;
  readonly blob: Blob;
}

export interface UploadProgress {
  readonly files: number;
  readonly bytes: number;
}

export interface UploadOptions {
  /** Called as parts are acknowledged. */
  readonly onProgress?: (progress: UploadProgress) => void;
  readonly signal?: AbortSignal;
  /** An unfinished upload to continue: parts that the gateway already has with the same bytes are not sent again. */
  readonly resume?: string;
  /** Called once with the id of the upload, to resume it by later. */
  readonly onUpload?: (uploadId: string) => void;
}

export interface UploadResult {
  readonly objects: number;
  readonly bytes: number;
  readonly chunks: number;
  /** Chunks that were acknowledged with fewer than all shards; their repair is queued first. */
  readonly degraded_chunks: number;
  readonly object?: StoredObject;
}

/** What an upload works with: where it goes, and the hash that its parts are checked by. */
export interface UploadContext {
  readonly gateway: Gateway;
  readonly blake3: Blake3;
}

/** An open upload; of a resumed one, the parts that the gateway has. */
export interface UploadSession {
  readonly upload_id: string;
  readonly part_bytes: number;
  readonly parts?: readonly { part_number: number; size: number; content_hash: string }[];
}

/** Parts of one upload in flight: enough to hide latency, few enough for the gateway's memory. */
export const PARALLEL_PARTS: number = 2;

/** Uploads one object of any size. Nothing is visible before the last part is confirmed. */
export async function uploadObject(
  context: UploadContext,
  target: { bucket: string; key: string; sha256?: string },
  blob: Blob,
  options: UploadOptions = {},
): Promise<UploadResult> {
  const session = await openSession(context.gateway, { kind: "object", ...target }, options);
  const count = Math.max(1, Math.ceil(blob.size / session.part_bytes));
  let sent = 0;
  await inParallel(count, async (index) => {
    const part = blob.slice(index * session.part_bytes, (index + 1) * session.part_bytes);
    await putPart(context, session, index + 1, part, options.signal);
    sent += part.size;
    options.onProgress?.({ files: 0, bytes: sent });
  });
  return complete(context.gateway, session, count);
}

type UploadRequest =
  | { readonly kind: "object"; readonly bucket: string; readonly key: string; readonly sha256?: string }
  | { readonly kind: "tar"; readonly bucket: string; readonly prefix: string };

/** @throws DataStreamError `invalid_argument` when the upload to resume goes elsewhere. */
export async function openSession(
  gateway: Gateway,
  request: UploadRequest,
  { resume, signal, onUpload }: UploadOptions,
): Promise<UploadSession> {
  const session =
    resume === undefined
      ? await gateway.json<UploadSession>("POST", "/api/uploads", { json: request, signal })
      : await resumed(gateway, request, resume, signal);
  onUpload?.(session.upload_id);
  return session;
}

async function resumed(
  gateway: Gateway,
  request: UploadRequest,
  id: string,
  signal: AbortSignal | undefined,
): Promise<UploadSession> {
  const session = await gateway.json<UploadSession & { bucket: string; kind: string; key: string }>(
    "GET",
    path("api", "uploads", id),
    { signal },
  );
  const key = request.kind === "object" ? request.key : request.prefix;
  if (session.bucket === request.bucket && session.kind === request.kind && session.key === key)
    return session;
  throw invalidArgument(
    "resume",
    `that upload is of ${session.kind === "tar" ? "a folder" : "an object"} to ${session.bucket}/${session.key}, not to ${request.bucket}/${key}.`,
  );
}

/**
 * Sends a part, unless the gateway has the same bytes already, and compares what arrived with what was sent.
 * @throws DataStreamError `data_loss` when the bytes changed on the way.
 */
export async function putPart(
  { gateway, blake3 }: UploadContext,
  session: UploadSession,
  partNumber: number,
  part: Blob,
  signal: AbortSignal | undefined,
): Promise<void> {
  const bytes = new Uint8Array(await part.arrayBuffer());
  const own = toHex(blake3.hash(bytes));
  if (session.parts?.some((known) => known.part_number === partNumber && known.content_hash === own)) return;
  const accepted = await gateway.json<{ content_hash: string }>(
    "PUT",
    path("api", "uploads", session.upload_id, "parts", partNumber),
    { body: bytes, signal },
  );
  if (accepted.content_hash === own) return;
  throw new DataStreamError(
    "data_loss",
    `Part ${partNumber} arrived with hash ${accepted.content_hash} where ${own} was sent. Nothing of the upload is visible; try again.`,
    { details: { part_number: partNumber, expected: own, actual: accepted.content_hash } },
  );
}

export function complete(gateway: Gateway, session: UploadSession, parts: number): Promise<UploadResult> {
  return gateway.json<UploadResult>("POST", path("api", "uploads", session.upload_id, "complete"), {
    json: { parts },
    idempotent: true,
  });
}

/** Runs `task` for 0 … count−1, a few at a time; the first failure stops the rest. */
async function inParallel(count: number, task: (index: number) => Promise<void>): Promise<void> {
  let next = 0;
  let failed = false;
  const worker = async (): Promise<void> => {
    while (!failed && next < count) {
      try {
        await task(next++);
      } catch (error) {
        failed = true;
        throw error;
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(PARALLEL_PARTS, count) }, worker));
}
