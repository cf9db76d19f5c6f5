import { equalBytes, fromHex, toHex } from "../../core/bytes.ts";
import type { DatasetFilter } from "../../core/dataset/filter.ts";
import { filterPredicate } from "../../core/dataset/filter.ts";
import { Manifest, type ManifestFile } from "../../core/dataset/manifest.ts";
import { ManifestPages, type ManifestPage } from "../../core/dataset/manifest-pages.ts";
import {
  labelOf,
  parseSchema,
  schemaHash,
  withClasses,
  type DatasetSchema,
} from "../../core/dataset/schema.ts";
import { parseDatasetReference } from "../../core/dataset/name.ts";
import type { KnownKey } from "../../core/trust/known-keys.ts";
import { DataStreamError, invalidArgument } from "../../core/errors.ts";
import type { Blake3 } from "../../core/ports.ts";
import type { Dataset } from "../datasets.ts";
import { path, type Gateway } from "../http.ts";
import { knownSigner } from "../keys.ts";
import { checkPin, type PinStore } from "../pins.ts";
import { VerificationError } from "../verification-error.ts";

/** Manifests up to this size are fetched and held whole; of larger ones only proven pages. */
const WHOLE_MANIFEST_MAX_BYTES: number = 64 * 1024 * 1024;

/** A dataset version as this client verified it, independent of what the gateway says later. */
export interface VerifiedDataset {
  readonly info: Dataset;
  readonly contentHash: Uint8Array;
  readonly schemaHash: Uint8Array;
  readonly schema: DatasetSchema;
  readonly count: number;
  readonly totalSize: number;
  /** Whether the version is vouched for from outside the gateway: by the reference, an earlier run or a known key. */
  readonly pinned: boolean;
  /** Name of the known key whose signature of this version was verified here; undefined where there is none. */
  readonly signedBy: string | undefined;
  /** Files by index, in the order asked. */
  files(indices: readonly number[]): Promise<readonly ManifestFile[]>;
  /** Class index of a file, where the schema takes labels from paths. */
  label(path: string): number | undefined;
  /** Ascending indices of the files that pass. Needs the whole manifest. */
  view(filter: DatasetFilter): Uint32Array;
}

/**
 * Fetches description and manifest, checks both against the reference and the pins, and looks for a signature of a
 * known key.
 * `name@blake3:HEX` pins the files alone; `pinnedSchemaHash` pins what they mean, too.
 * @throws VerificationError naming what differs.
 */
export async function openDataset(
  gateway: Gateway,
  reference: string,
  pins: PinStore,
  blake3: Blake3,
  knownKeys: readonly KnownKey[],
  pinnedSchemaHash?: string,
): Promise<VerifiedDataset> {
  const parsed = parseDatasetReference(reference);
  const info = await gateway.json<Dataset>("GET", path("api", "datasets", reference));
  const contentHash = hash(info.content_hash, "content_hash");
  const wanted = parsed.contentHash;
  if (wanted !== undefined && !equalBytes(wanted, contentHash)) {
    throw new VerificationError({
      subject: "content hash",
      expected: toHex(wanted),
      actual: info.content_hash,
    });
  }
  if (parsed.name !== undefined && parsed.name !== info.name) {
    throw new VerificationError({ subject: "name", expected: parsed.name, actual: info.name });
  }
  if (parsed.owner !== undefined && parsed.owner !== info.owner) {
    throw new VerificationError({ subject: "name", expected: parsed.owner, actual: info.owner });
  }
  if (parsed.version !== undefined && parsed.version !== info.version) {
    throw new VerificationError({
      subject: "version",
      expected: String(parsed.version),
      actual: String(info.version),
    });
  }
  if (parsed.id !== undefined && parsed.id !== info.id) {
    throw new VerificationError({ subject: "version", expected: parsed.id, actual: info.id });
  }

  const schema = parseSchema(info.schema);
  const ownSchemaHash = schemaHash(schema, blake3);
  if (toHex(ownSchemaHash) !== info.schema_hash) {
    throw new VerificationError({
      subject: "schema",
      expected: toHex(ownSchemaHash),
      actual: info.schema_hash,
    });
  }
  if (pinnedSchemaHash !== undefined && pinnedSchemaHash.toLowerCase() !== info.schema_hash) {
    throw new VerificationError({ subject: "schema", expected: pinnedSchemaHash, actual: info.schema_hash });
  }
  const manifest = await openManifest(gateway, reference, info, contentHash, blake3);
  if (manifest.count !== info.file_count || manifest.totalSize !== info.total_size_bytes) {
    throw new VerificationError({
      subject: "manifest",
      expected: `${manifest.count} files of ${manifest.totalSize} bytes`,
      actual: `${info.file_count} files of ${info.total_size_bytes} bytes`,
    });
  }
  if (manifest.whole !== undefined) checkClasses(schema, manifest.whole);

  const namesVersion = parsed.id !== undefined || parsed.version !== undefined || wanted !== undefined;
  const seenBefore = await checkPin(pins, gateway.base, reference, namesVersion, {
    datasetId: info.id,
    version: info.version,
    contentHash: info.content_hash,
    schemaHash: info.schema_hash,
  });
  const signedBy = await knownSigner(gateway, info, knownKeys);
  return {
    info,
    contentHash,
    schemaHash: ownSchemaHash,
    schema,
    count: manifest.count,
    totalSize: manifest.totalSize,
    pinned: wanted !== undefined || seenBefore || signedBy !== undefined,
    signedBy,
    files: (indices) => manifest.files(indices),
    label: (filePath) => (schema.labels === "path" ? labelOf(schema, filePath) : undefined),
    view: (filter) => view(manifest.whole, filter),
  };
}

interface OpenManifest {
  readonly count: number;
  readonly totalSize: number;
  readonly whole: Manifest | undefined;
  files(indices: readonly number[]): Promise<readonly ManifestFile[]>;
}

async function openManifest(
  gateway: Gateway,
  reference: string,
  info: Dataset,
  contentHash: Uint8Array,
  blake3: Blake3,
): Promise<OpenManifest> {
  if (info.manifest_size_bytes > WHOLE_MANIFEST_MAX_BYTES) {
    const pages = await ManifestPages.open({
      contentHash,
      totalBytes: info.manifest_size_bytes,
      blake3,
      cachedPages: 256,
      fetchPage: (index) => fetchPage(gateway, reference, index),
    });
    return {
      count: pages.count,
      totalSize: pages.header.totalSize,
      whole: undefined,
      files: (indices) => Promise.all(indices.map((index) => pages.item(index))),
    };
  }
  const bytes = await gateway.bytes("GET", path("api", "datasets", reference, "manifest"));
  const actual = blake3.hash(bytes);
  if (!equalBytes(actual, contentHash)) {
    throw new VerificationError({ subject: "manifest", expected: toHex(contentHash), actual: toHex(actual) });
  }
  const manifest = Manifest.parse(bytes);
  return {
    count: manifest.count,
    totalSize: manifest.totalSize,
    whole: manifest,
    files: (indices) => Promise.resolve(indices.map((index) => manifest.item(index))),
  };
}

async function fetchPage(gateway: Gateway, reference: string, index: number): Promise<ManifestPage> {
  const page = await gateway.json<{ data: string; proof: readonly string[] }>(
    "GET",
    path("api", "datasets", reference, "manifest", "pages", index),
  );
  const bytes = Uint8Array.from(atob(page.data), (character) => character.charCodeAt(0));
  return { bytes, proof: hash(page.proof.join(""), "proof", undefined) };
}

/** @throws DataStreamError `invalid_argument` when a file's folder is not in the class list. */
function checkClasses(schema: DatasetSchema, manifest: Manifest): void {
  const paths = function* (): Generator<string> {
    for (let index = 0; index < manifest.count; index++) yield manifest.itemPath(index);
  };
  withClasses(schema, paths());
}

function view(manifest: Manifest | undefined, filter: DatasetFilter): Uint32Array {
  if (manifest === undefined) {
    throw invalidArgument(
      "filter",
      `needs the whole manifest, and this one is larger than ${WHOLE_MANIFEST_MAX_BYTES} bytes.`,
      {
        limit: WHOLE_MANIFEST_MAX_BYTES,
      },
    );
  }
  const passes = filterPredicate(filter);
  const indices: number[] = [];
  for (let index = 0; index < manifest.count; index++)
    if (passes(manifest.itemPath(index))) indices.push(index);
  return Uint32Array.from(indices);
}

function hash(text: string, field: string, bytes: number | undefined = 32): Uint8Array {
  const parsed = fromHex(text);
  if (parsed === undefined || (bytes !== undefined && parsed.byteLength !== bytes)) {
    throw new DataStreamError("data_loss", `The gateway sent a ${field} that is no hash.`);
  }
  return parsed;
}
