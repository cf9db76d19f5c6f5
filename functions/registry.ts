/** What users and administrators ask of the public registry. */
import {
  findPublicDatasets,
  type NewPublicDataset,
  type PublicDataset,
  type PublicReference,
} from "../catalog/registry.ts";
import { fromHex } from "../core/bytes.ts";
import { checkPath } from "../core/dataset/path.ts";
import { isUuid } from "../core/dataset/name.ts";
import { DataStreamError, invalidArgument } from "../core/errors.ts";
import type { Sql } from "../core/ports.ts";

/**
 * The entry that `NAME`, `NAME@VERSION` or an id means.
 * @throws `not_found`; `invalid_argument` when the name alone means several.
 */
export async function publicDatasetOf(sql: Sql, reference: string): Promise<PublicDataset> {
  const [found, second, ...more] = await findPublicDatasets(sql, parseReference(reference));
  if (found === undefined)
    throw new DataStreamError("not_found", "ref: the public registry has no such entry.", {
      details: { field: "ref" },
    });
  if (second === undefined) return found;
  const versions = [found, second, ...more].map(({ version }) => `${found.name}@${version}`);
  throw invalidArgument("ref", `is one of several. Write ${versions.join(" or ")}.`);
}

function parseReference(text: string): PublicReference {
  if (isUuid(text.toLowerCase())) return { id: text.toLowerCase() };
  const at = text.lastIndexOf("@");
  return at === -1
    ? { name: text, version: undefined }
    : { name: text.slice(0, at), version: text.slice(at + 1) };
}

/** An entry as an administrator gives it; hashes in hexadecimal. */
export interface EntryRequest {
  readonly name: string;
  readonly version: string;
  readonly official_url: string;
  readonly license: string | null;
  readonly verified_by: readonly string[];
  readonly recipe: NewPublicDataset["recipe"];
  readonly official_hash: string | null;
  readonly files: readonly {
    readonly path: string;
    readonly sha256: string;
    readonly md5: string | null;
    readonly size: number | null;
    readonly url: string | null;
  }[];
}

/** @throws `invalid_argument` naming the field. */
export function newEntry(request: EntryRequest, addedBy: string): NewPublicDataset {
  const { files, recipe } = request;
  if (files.length === 0 && request.official_hash === null)
    throw invalidArgument("files", "give the published files, or the hash of their manifest.");
  if (files.length === 0 && recipe !== null)
    throw invalidArgument("recipe", "needs the files that it takes apart.");
  const seen = new Set<string>();
  for (const [i, { path }] of files.entries()) {
    checkPath(path, `files[${i}].path`);
    if (seen.has(path)) throw invalidArgument(`files[${i}].path`, "is in the list twice.");
    seen.add(path);
  }
  return {
    id: crypto.randomUUID(),
    name: request.name,
    version: request.version,
    officialUrl: request.official_url,
    license: request.license,
    verifiedBy: request.verified_by,
    recipe,
    officialHash: bytes(request.official_hash),
    files: files.map(({ path, sha256, md5, size, url }) => ({
      path,
      sha256: bytes(sha256),
      md5: bytes(md5),
      size,
      url,
      source: addedBy,
    })),
  };
}

/** The route's schema has checked the digits. */
function bytes(hex: string | null): Uint8Array | null {
  return hex === null ? null : (fromHex(hex) ?? null);
}
