/** One part of a folder: a tar archive of its own, whose files are packed into chunks while it streams. */
import { packShardSize } from "../../core/erasure/pack-layout.ts";
import { pathViolation } from "../../core/dataset/path.ts";
import { invalidArgument } from "../../core/errors.ts";
import { CHUNK_MIN_BYTES } from "../../core/limits.ts";
import { quoted } from "../../core/text.ts";
import type { StagedFile, Upload } from "../../core/write-catalog.ts";
import { ChunkBuffer } from "../chunk-writer.ts";
import { Packer } from "../packer.ts";
import type { PullPiece } from "../byte-source.ts";
import type { UploadDeps } from "./deps.ts";
import { Intents } from "./intents.ts";
import { readTar } from "./tar-reader.ts";
import { type WrittenPart, wrongLength } from "./written-part.ts";

/**
 * Stores the files of the archive.
 * @throws `invalid_argument` naming body (not a tar, not as long as declared) or path (its rule, or a duplicate),
 *   `unavailable`, `resource_exhausted`, `canceled`
 */
export async function writeTarPart(
  deps: UploadDeps,
  upload: Upload,
  pull: PullPiece,
  declaredLength: number,
  signal?: AbortSignal,
): Promise<WrittenPart> {
  const geometry = { k: upload.dataShards, m: upload.parityShards };
  const capacity = packCapacity(upload.chunkBytes, declaredLength);
  const intents = new Intents(deps, geometry, Math.ceil(declaredLength / capacity));
  const hash = deps.kernels.blake3.incremental();
  let received = 0;
  let isOpen = true;
  const buffer = await ChunkBuffer.acquire(deps, geometry, packShardSize(capacity, geometry.k), signal);
  try {
    const packer = new Packer(deps, buffer, capacity, () => intents.take());
    const files: StagedFile[] = [];
    const keys = new Set<string>();
    const hashed: PullPiece = async () => {
      const piece = await pull();
      received += piece?.length ?? 0;
      if (received > declaredLength || (piece === undefined && received < declaredLength))
        throw wrongLength(received, declaredLength);
      // The archive is fed from beside: this may be called once more when the part has failed.
      if (piece !== undefined && isOpen) hash.update(piece);
      return piece;
    };
    for await (const { path, size, source } of readTar(hashed)) {
      const key = entryKey(upload.key, path);
      if (keys.has(key)) throw invalidArgument("path", `${quoted(path)} is in the archive twice.`, { path });
      keys.add(key);
      files.push({ id: crypto.randomUUID(), key, ...(await packer.add(size, source)) });
    }
    const chunks = await packer.finish();
    return {
      size: declaredLength,
      contentHash: hash.digest(),
      chainingValue: null,
      fileCount: files.length,
      fileBytes: files.reduce((total, { size }) => total + size, 0),
      chunks,
      unusedIntents: intents.unused,
      content: { kind: "tar", files },
    };
  } catch (error) {
    isOpen = false;
    hash.dispose();
    throw error;
  } finally {
    buffer.release();
  }
}

/** A small archive gets small chunks, and so little memory; twice its length leaves room for padding. */
export function packCapacity(chunkBytes: number, archiveBytes: number): number {
  let capacity = CHUNK_MIN_BYTES;
  while (capacity < chunkBytes && capacity < 2 * archiveBytes) capacity *= 2;
  return capacity;
}

function entryKey(prefix: string, path: string): string {
  const key = prefix + path;
  const violation = pathViolation(key);
  if (violation === undefined) return key;
  throw invalidArgument("path", `${quoted(path)} under the prefix ${quoted(prefix)} ${violation}.`, { path });
}
