/** SHA-256 of stored files that have none yet: uploads of several parts are not hashed a second time. */
import { nextUnhashed, recordSha256 } from "../../catalog/registry-match.ts";
import { DataStreamError } from "../../core/errors.ts";
import { REGISTRY_HASH_MAX_BYTES } from "../../core/limits.ts";
import type { Sql } from "../../core/ports.ts";
import { createSha256 } from "../../storage/sha256.ts";
import type { InternalObjects } from "./internal-objects.ts";

export interface FileHashDeps {
  readonly sql: Sql;
  readonly objects: Pick<InternalObjects, "read">;
}

/**
 * Computes and keeps the SHA-256 of the first file after `after` that the registry would match by it. A file above
 * `REGISTRY_HASH_MAX_BYTES`, or one that cannot be recovered, is passed over: it matches nothing.
 * @returns the file's index; undefined when no file is left.
 */
export async function hashNext(
  { sql, objects }: FileHashDeps,
  datasetId: string,
  after: number,
): Promise<number | undefined> {
  const file = await nextUnhashed(sql, datasetId, after);
  if (file === undefined || file.size > REGISTRY_HASH_MAX_BYTES) return file?.index;
  const hash = createSha256();
  try {
    for await (const piece of objects.read(file.objectId)) await hash.update(piece);
  } catch (error) {
    await hash.dispose();
    if (error instanceof DataStreamError && error.code === "data_loss") return file.index;
    throw error;
  }
  await recordSha256(sql, file.objectId, await hash.digest());
  return file.index;
}
