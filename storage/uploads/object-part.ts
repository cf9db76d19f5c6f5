/** One part of an object, chunk by chunk. */
import { shardSize } from "../../core/erasure/geometry.ts";
import type { StagedExtent, Upload, WrittenChunk } from "../../core/write-catalog.ts";
import { ChunkBuffer, writeChunk } from "../chunk-writer.ts";
import { createSha256 } from "../sha256.ts";
import type { ByteSource } from "../byte-source.ts";
import { PartHasher } from "./compose-hash.ts";
import type { UploadDeps } from "./deps.ts";
import { Intents } from "./intents.ts";
import type { WrittenPart } from "./written-part.ts";

/**
 * Stores up to `limit` bytes, at most one part, and leaves the rest in `source`. Memory is taken for the limit.
 * @throws `unavailable`, `resource_exhausted`, and what `source` throws
 */
export async function writeObjectPart(
  deps: UploadDeps,
  upload: Upload,
  partNumber: number,
  source: ByteSource,
  limit: number,
  signal?: AbortSignal,
): Promise<WrittenPart> {
  const chunkBytes = Math.min(upload.chunkBytes, limit);
  const geometry = { k: upload.dataShards, m: upload.parityShards };
  const intents = new Intents(deps, geometry, Math.ceil(limit / upload.chunkBytes));
  const partOffset = (partNumber - 1) * upload.partBytes;
  const hasher = new PartHasher(deps.kernels.blake3, partOffset);
  const chunks: WrittenChunk[] = [];
  const extents: StagedExtent[] = [];
  let size = 0;
  const buffer = await ChunkBuffer.acquire(deps, geometry, shardSize(chunkBytes, geometry.k), signal);
  // Only the first part can turn out to be the whole object.
  const sha256 = partNumber === 1 ? createSha256() : undefined;
  try {
    while (size < limit) {
      const room = buffer.data.subarray(0, Math.min(chunkBytes, limit - size));
      const length = await source.readInto(room);
      if (length > 0) {
        const data = room.subarray(0, length);
        await sha256?.update(data);
        const chunk = { length, shardLength: shardSize(length, geometry.k), contentHash: hasher.add(data) };
        const intent = await intents.take();
        chunks.push(await writeChunk(deps, buffer, intent, chunk));
        extents.push({ chunkId: intent.id, chunkOffset: 0, objectOffset: partOffset + size, length });
        size += length;
      }
      if (length < room.length) break;
    }
    return {
      size,
      ...hasher.finish(),
      fileCount: 1,
      fileBytes: size,
      chunks,
      unusedIntents: intents.unused,
      content: { kind: "object", extents, sha256: (await sha256?.digest()) ?? null },
    };
  } catch (error) {
    await sha256?.dispose();
    throw error;
  } finally {
    buffer.release();
  }
}
