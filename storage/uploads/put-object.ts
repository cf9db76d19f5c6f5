/** Objects that the service writes itself, by the same protocol as an upload. */
import { fromHex } from "../../core/bytes.ts";
import { completeUpload } from "./complete.ts";
import { iterablePieces, PieceSource } from "../byte-source.ts";
import type { UploadDeps } from "./deps.ts";
import { writeObjectPart } from "./object-part.ts";
import { commitWrittenPart } from "./put-part.ts";
import { createUpload, requireUpload } from "./sessions.ts";

export interface PutObject {
  readonly bucketId: string;
  readonly key: string;
  readonly bytes: AsyncIterable<Uint8Array> | Uint8Array;
  readonly signal?: AbortSignal;
}

/**
 * Stores bytes of any length under a key, replacing what it named. What a failure leaves behind is collected later.
 * @returns the id and BLAKE3 of the object.
 */
export async function putObject(
  deps: UploadDeps,
  { bucketId, key, bytes, signal }: PutObject,
): Promise<{ readonly objectId: string; readonly contentHash: Uint8Array; readonly size: number }> {
  const { id } = await createUpload(deps, { bucketId, kind: "object", key });
  const upload = await requireUpload(deps, id, undefined);
  const { id: objectId } = await deps.catalog.findStagedObject(id);
  const source = new PieceSource(iterablePieces(bytes));
  let left = bytes instanceof Uint8Array ? bytes.length : Infinity;
  let parts = 0;
  for (let isFull = true; isFull;) {
    const limit = Math.min(upload.partBytes, left);
    const written = await writeObjectPart(deps, upload, parts + 1, source, limit, signal);
    // A length that is a multiple of the part size ends with nothing left for a last part.
    if (written.size === 0 && parts > 0) break;
    parts++;
    await commitWrittenPart(deps, upload, parts, written);
    left -= written.size;
    isFull = written.size === upload.partBytes;
  }
  const { object } = await completeUpload(deps, { uploadId: id, ownerId: undefined, parts });
  return {
    objectId,
    contentHash: fromHex(object?.content_hash ?? "") as Uint8Array,
    size: object?.size ?? 0,
  };
}
