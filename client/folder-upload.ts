import { packTar } from "modern-tar";
import { PATH_MAX_BYTES } from "../core/limits.ts";
import {
  complete,
  openSession,
  PARALLEL_PARTS,
  putPart,
  uploadObject,
  type UploadContext,
  type UploadFile,
  type UploadOptions,
  type UploadResult,
  type UploadSession,
} from "./uploads.ts";

/** Files up to this size share tars; larger ones are uploads of their own. */
const TAR_FILE_MAX_BYTES: number = 4 * 1024 * 1024;
const TAR_TARGET_BYTES: number = 16 * 1024 * 1024;
const TAR_TARGET_FILES = 10_000;
/** Completing an upload is one transaction over all its files; more than these become several uploads. */
const UPLOAD_MAX_FILES = 100_000;
const TAR_BLOCK_BYTES = 512;

/**
 * Uploads a folder: small files travel in tars and share chunks, large ones are objects of
 * their own. `files` must come in path-byte order, which keeps neighbours in one chunk.
 * Up to 100,000 small files become visible together; the folder as a whole is not all or nothing.
 * `resume` continues an upload of small files, given the same files again.
 */
export async function uploadFolder(
  context: UploadContext,
  target: { bucket: string; prefix: string },
  files: AsyncIterable<UploadFile>,
  options: UploadOptions = {},
): Promise<UploadResult> {
  const upload = new FolderUpload(context, target, options);
  for await (const file of files) await upload.add(file);
  return upload.finish();
}

class FolderUpload {
  readonly #context: UploadContext;
  readonly #target: { readonly bucket: string; readonly prefix: string };
  #options: UploadOptions;
  readonly #total = { objects: 0, bytes: 0, chunks: 0, degraded_chunks: 0 };
  readonly #progress = { files: 0, bytes: 0 };
  /** Files of the next tar. */
  #pending: UploadFile[] = [];
  #pendingBytes = 0;
  #session: UploadSession | undefined;
  #sessionFiles = 0;
  #parts = 0;
  readonly #sending = new Set<Promise<void>>();
  /** Why the first part failed; it ends the upload where it next waits. */
  #failure: { readonly error: unknown } | undefined;

  constructor(context: UploadContext, target: { bucket: string; prefix: string }, options: UploadOptions) {
    this.#context = context;
    this.#target = target;
    this.#options = options;
  }

  async add(file: UploadFile): Promise<void> {
    if (file.blob.size > TAR_FILE_MAX_BYTES) return this.#addLarge(file);
    const bytes = tarBytes(file);
    if (this.#pendingBytes + bytes > TAR_TARGET_BYTES || this.#pending.length >= TAR_TARGET_FILES)
      await this.#flush();
    this.#pending.push(file);
    this.#pendingBytes += bytes;
  }

  async finish(): Promise<UploadResult> {
    await this.#flush();
    await this.#complete();
    return this.#total;
  }

  async #addLarge(file: UploadFile): Promise<void> {
    const { bucket, prefix } = this.#target;
    const options = this.#options.signal === undefined ? {} : { signal: this.#options.signal };
    this.#count(await uploadObject(this.#context, { bucket, key: prefix + file.path }, file.blob, options));
    this.#report([file]);
  }

  /** Sends the pending files as one part, a few parts at a time. */
  async #flush(): Promise<void> {
    if (this.#pending.length === 0) return;
    const files = this.#pending;
    this.#pending = [];
    this.#pendingBytes = 0;
    if (this.#sessionFiles + files.length > UPLOAD_MAX_FILES) await this.#complete();
    this.#session ??= await openSession(
      this.#context.gateway,
      { kind: "tar", ...this.#target },
      this.#options,
    );
    this.#sessionFiles += files.length;
    this.#parts += 1;
    while (this.#sending.size >= PARALLEL_PARTS) await Promise.race(this.#sending);
    this.#throwIfFailed();
    const sending: Promise<void> = this.#send(this.#session, this.#parts, files)
      .catch((error: unknown) => {
        this.#failure ??= { error };
      })
      .finally(() => this.#sending.delete(sending));
    this.#sending.add(sending);
  }

  #throwIfFailed(): void {
    if (this.#failure !== undefined) throw this.#failure.error;
  }

  async #send(session: UploadSession, partNumber: number, files: readonly UploadFile[]): Promise<void> {
    // A fixed time makes the same files the same bytes, so that a resumed part is recognised.
    const archive = await packTar(
      files.map((file) => ({
        header: { name: file.path, size: file.blob.size, mtime: new Date(0) },
        body: file.blob,
      })),
    );
    await putPart(this.#context, session, partNumber, new Blob([archive]), this.#options.signal);
    this.#report(files);
  }

  async #complete(): Promise<void> {
    if (this.#session === undefined) return;
    await Promise.all(this.#sending);
    this.#throwIfFailed();
    this.#count(await complete(this.#context.gateway, this.#session, this.#parts));
    this.#session = undefined;
    this.#sessionFiles = 0;
    this.#parts = 0;
    // What was to be resumed is complete now.
    const { resume: _resumed, ...rest } = this.#options;
    this.#options = rest;
  }

  #count(result: UploadResult): void {
    for (const name of ["objects", "bytes", "chunks", "degraded_chunks"] as const)
      this.#total[name] += result[name];
  }

  #report(files: readonly UploadFile[]): void {
    this.#progress.files += files.length;
    this.#progress.bytes += files.reduce((bytes, file) => bytes + file.blob.size, 0);
    this.#options.onProgress?.({ ...this.#progress });
  }
}

/** Upper bound of what a file takes in a tar: header, possible pax header, padded body. */
function tarBytes(file: UploadFile): number {
  return 3 * TAR_BLOCK_BYTES + PATH_MAX_BYTES + Math.ceil(file.blob.size / TAR_BLOCK_BYTES) * TAR_BLOCK_BYTES;
}
