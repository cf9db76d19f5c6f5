/** One part made of files that the service itself has at hand, packed like those of a tar. */
import { pathViolation } from "../../core/dataset/path.ts";
import { packShardSize } from "../../core/erasure/pack-layout.ts";
import { invalidArgument } from "../../core/errors.ts";
import { quoted } from "../../core/text.ts";
import type { StagedFile, Upload } from "../../core/write-catalog.ts";
import type { ByteSource } from "../byte-source.ts";
import { ChunkBuffer } from "../chunk-writer.ts";
import { Packer } from "../packer.ts";
import type { UploadDeps } from "./deps.ts";
import { Intents } from "./intents.ts";
import { packCapacity } from "./tar-part.ts";
import type { WrittenPart } from "./written-part.ts";

export interface PartFile {
  /** Behind the upload's prefix. */
  readonly path: string;
  readonly size: number;
  readonly source: ByteSource;
}

/**
 * Stores files as a part of an upload of kind `tar`; each is read to its end before the next is asked for.
 * @param mostBytes what the files have at most, together.
 * @throws `invalid_argument` naming path, `unavailable`, `resource_exhausted`; what the sources throw.
 */
export async function writeFilesPart(
  deps: UploadDeps,
  upload: Upload,
  files: AsyncIterable<PartFile>,
  mostBytes: number,
): Promise<WrittenPart> {
  const geometry = { k: upload.dataShards, m: upload.parityShards };
  const capacity = packCapacity(upload.chunkBytes, mostBytes);
  const intents = new Intents(deps, geometry, 1);
  const hash = deps.kernels.blake3.incremental();
  try {
    const buffer = await ChunkBuffer.acquire(deps, geometry, packShardSize(capacity, geometry.k));
    try {
      const packer = new Packer(deps, buffer, capacity, () => intents.take());
      const staged: StagedFile[] = [];
      let bytes = 0;
      for await (const { path, size, source } of files) {
        const key = upload.key + path;
        const violation = pathViolation(key);
        if (violation !== undefined) throw invalidArgument("path", `${quoted(path)} ${violation}.`, { path });
        const hashed: ByteSource = {
          async readInto(into) {
            const read = await source.readInto(into);
            hash.update(into.subarray(0, read));
            return read;
          },
        };
        staged.push({ id: crypto.randomUUID(), key, ...(await packer.add(size, hashed)) });
        bytes += size;
      }
      const chunks = await packer.finish();
      return {
        size: bytes,
        contentHash: hash.digest(),
        chainingValue: null,
        fileCount: staged.length,
        fileBytes: bytes,
        chunks,
        unusedIntents: intents.unused,
        content: { kind: "tar", files: staged },
      };
    } finally {
      buffer.release();
    }
  } catch (error) {
    hash.dispose();
    throw error;
  }
}
