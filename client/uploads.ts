import { packTar } from "modern-tar";
import { toHex } from "../core/bytes.ts";
import { DataStreamError } from "../core/errors.ts";
import { PATH_MAX_BYTES } from "../core/limits.ts";
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

interface UploadSession {
  readonly upload_id: string;
  readonly part_bytes: number;
  readonly parts?: readonly { part_number: number; size: number; content_hash: string }[];
}

/** Parts of one upload in flight: enough to hide latency, few enough for the gateway's memory. */
const PARALLEL_PARTS = 2;
/** Files up to this size share tars; larger ones are uploads of their own. */
const TAR_FILE_MAX_BYTES = 4 * 1024 * 1024;
const TAR_TARGET_BYTES = 16 * 1024 * 1024;
const TAR_TARGET_FILES = 10_000;
const TAR_BLOCK_BYTES = 512;

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

/**
 * Uploads a folder: small files travel in tars and share chunks, large ones are objects of
 * their own. `files` must come in path-byte order, which keeps neighbours in one chunk.
 * Each upload is all or nothing; the folder as a whole is not.
 */
export async function uploadFolder(
  context: UploadContext,
  target: { bucket: string; prefix: string },
  files: AsyncIterable<UploadFile>,
  options: UploadOptions = {},
): Promise<UploadResult> {
  const total = { objects: 0, bytes: 0, chunks: 0, degraded_chunks: 0 };
  const progress = { files: 0, bytes: 0 };
  const add = (result: UploadResult): void => {
    for (const name of ["objects", "bytes", "chunks", "degraded_chunks"] as const)
      total[name] += result[name];
  };
  const report = (fileCount: number, bytes: number): void => {
    progress.files += fileCount;
    progress.bytes += bytes;
    options.onProgress?.({ ...progress });
  };

  const small: UploadFile[] = [];
  let session: UploadSession | undefined;
  let parts = 0;
  const flush = async (): Promise<void> => {
    if (small.length === 0) return;
    session ??= await openSession(
      context.gateway,
      { kind: "tar", bucket: target.bucket, prefix: target.prefix },
      options,
    );
    const batch = small.splice(0);
    parts += 1;
    await putTar(context, session, parts, batch, options.signal);
    report(
      batch.length,
      batch.reduce((bytes, file) => bytes + file.blob.size, 0),
    );
  };

  let pendingBytes = 0;
  for await (const file of files) {
    if (file.blob.size > TAR_FILE_MAX_BYTES) {
      add(
        await uploadObject(
          context,
          { bucket: target.bucket, key: target.prefix + file.path },
          file.blob,
          signalOnly(options),
        ),
      );
      report(1, file.blob.size);
      continue;
    }
    const bytes = tarBytes(file);
    if (pendingBytes + bytes > TAR_TARGET_BYTES || small.length >= TAR_TARGET_FILES) {
      await flush();
      pendingBytes = 0;
    }
    small.push(file);
    pendingBytes += bytes;
  }
  await flush();
  if (session !== undefined) add(await complete(context.gateway, session, parts));
  return total;
}

function signalOnly(options: UploadOptions): UploadOptions {
  return options.signal === undefined ? {} : { signal: options.signal };
}

/** Upper bound of what a file takes in a tar: header, possible pax header, padded body. */
function tarBytes(file: UploadFile): number {
  return 3 * TAR_BLOCK_BYTES + PATH_MAX_BYTES + Math.ceil(file.blob.size / TAR_BLOCK_BYTES) * TAR_BLOCK_BYTES;
}

async function putTar(
  context: UploadContext,
  session: UploadSession,
  partNumber: number,
  files: readonly UploadFile[],
  signal: AbortSignal | undefined,
): Promise<void> {
  // A fixed time makes the same files the same bytes, so that a resumed part is recognised.
  const archive = await packTar(
    files.map((file) => ({
      header: { name: file.path, size: file.blob.size, mtime: new Date(0) },
      body: file.blob,
    })),
  );
  await putPart(context, session, partNumber, new Blob([archive]), signal);
}

async function openSession(
  gateway: Gateway,
  request: object,
  options: UploadOptions,
): Promise<UploadSession> {
  const session =
    options.resume === undefined
      ? await gateway.json<UploadSession>("POST", "/api/uploads", { json: request, signal: options.signal })
      : await gateway.json<UploadSession>("GET", path("api", "uploads", options.resume), {
          signal: options.signal,
        });
  options.onUpload?.(session.upload_id);
  return session;
}

/**
 * Sends a part, unless the gateway has the same bytes already, and compares what arrived with what was sent.
 * @throws DataStreamError `data_loss` when the bytes changed on the way.
 */
async function putPart(
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

function complete(gateway: Gateway, session: UploadSession, parts: number): Promise<UploadResult> {
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
