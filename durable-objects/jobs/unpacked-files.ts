/**
 * Files that an unpacking job writes. They lie in a bucket that users can neither name nor change, so what the job
 * read is what its dataset holds; in the end only the dataset holds them.
 */
import { ensureBucket, findBucket } from "../../catalog/buckets.ts";
import { dropDatasetObjects, dropPrefix } from "../../catalog/unpacking.ts";
import { DataStreamError } from "../../core/errors.ts";
import { JOB_STEP_FILES, UNPACK_CHUNK_BYTES, UNPACK_STEP_BYTES } from "../../core/limits.ts";
import { completeUpload } from "../../storage/uploads/complete.ts";
import { type PartFile, writeFilesPart } from "../../storage/uploads/files-part.ts";
import { putObject } from "../../storage/uploads/put-object.ts";
import { commitWrittenPart } from "../../storage/uploads/put-part.ts";
import { abortUpload, createUpload, requireUpload } from "../../storage/uploads/sessions.ts";
import type { StoredObjectsDeps } from "./stored-objects.ts";

const BUCKET = ".unpacked";
const GEOMETRY = { chunkBytes: UNPACK_CHUNK_BYTES, dataShards: 4, parityShards: 2 };

export class UnpackedFiles {
  readonly #deps: Pick<StoredObjectsDeps, "sql" | "uploads">;

  constructor(deps: Pick<StoredObjectsDeps, "sql" | "uploads">) {
    this.#deps = deps;
  }

  async bucket(ownerId: string): Promise<string> {
    const { bucket } = await ensureBucket(this.#deps.sql, { ownerId, name: BUCKET, ...GEOMETRY });
    return bucket.id;
  }

  /** @returns the id of an upload that takes files under the prefix. */
  async begin(ownerId: string, prefix: string): Promise<string> {
    const bucketId = await this.bucket(ownerId);
    return (await createUpload(this.#deps.uploads, { bucketId, kind: "tar", key: prefix })).id;
  }

  /** Files of at most `UNPACK_STEP_BYTES` together; again in the place of those of that number. */
  async putFiles(uploadId: string, partNumber: number, files: AsyncIterable<PartFile>): Promise<void> {
    const { uploads } = this.#deps;
    const upload = await requireUpload(uploads, uploadId, undefined);
    const written = await writeFilesPart(uploads, upload, files, UNPACK_STEP_BYTES);
    await commitWrittenPart(uploads, upload, partNumber, written);
  }

  /** A file of any length, by itself. */
  async putFile(ownerId: string, key: string, bytes: AsyncIterable<Uint8Array>): Promise<void> {
    await putObject(this.#deps.uploads, { bucketId: await this.bucket(ownerId), key, bytes });
  }

  async complete(uploadId: string, parts: number): Promise<void> {
    await completeUpload(this.#deps.uploads, { uploadId, ownerId: undefined, parts });
  }

  /** Leaves files `from` on of a dataset to the dataset alone. @returns how many files this call looked at. */
  async release(datasetId: string, from: number): Promise<number> {
    return dropDatasetObjects(this.#deps.sql, datasetId, from, JOB_STEP_FILES);
  }

  /** Gives up what was written, a bounded amount in a call. @returns whether anything is left. */
  async discard(ownerId: string, prefix: string, uploadId: string | undefined): Promise<boolean> {
    const { sql, uploads } = this.#deps;
    if (uploadId !== undefined) {
      try {
        await abortUpload(uploads, uploadId, ownerId);
      } catch (error) {
        const { code } = DataStreamError.from(error);
        if (code !== "failed_precondition" && code !== "not_found") throw error;
      }
    }
    const bucket = await findBucket(sql, ownerId, BUCKET);
    return (
      bucket !== undefined && (await dropPrefix(sql, bucket.id, prefix, JOB_STEP_FILES)) === JOB_STEP_FILES
    );
  }
}
