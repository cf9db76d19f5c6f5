/**
 * What a signature on a dataset version says: this owner's version of this name, made from that parent, has this
 * content and this schema. docs/formats/signatures-v1.md
 */
import { isUuid } from "../dataset/name.ts";
import { hasExactly } from "./dsse.ts";
import { parseCanonical, statementBytes } from "./statement.ts";

export const DATASET_STATEMENT_TYPE: string = "application/vnd.cyxcloud.dataset-statement.v1+json";

export interface DatasetStatement {
  /** Name of the user who owns it. */
  readonly owner: string;
  readonly name: string;
  readonly version: number;
  /** Id of the version before; null where there was none, or it was deleted before the statement was made. */
  readonly parent: string | null;
  /** BLAKE3 of the manifest, lowercase hexadecimal. */
  readonly content_hash: string;
  /** BLAKE3 of the schema's canonical JSON, lowercase hexadecimal. */
  readonly schema_hash: string;
}

const FIELDS = ["content_hash", "name", "owner", "parent", "schema_hash", "version"] as const;

/** The payload of the envelope. */
export function encodeDatasetStatement(statement: DatasetStatement): Uint8Array<ArrayBuffer> {
  const { owner, name, version, parent, content_hash, schema_hash } = statement;
  return statementBytes({ owner, name, version, parent, content_hash, schema_hash });
}

/** Reads a payload; undefined for anything but the canonical bytes of a statement. */
export function parseDatasetStatement(payload: Uint8Array): DatasetStatement | undefined {
  const value = parseCanonical(payload);
  if (!hasExactly(value, FIELDS)) return undefined;
  const { content_hash, name, owner, parent, schema_hash, version } = value;
  if (typeof owner !== "string" || typeof name !== "string") return undefined;
  if (typeof version !== "number" || !Number.isSafeInteger(version) || version < 1) return undefined;
  if (parent !== null && (typeof parent !== "string" || !isUuid(parent))) return undefined;
  if (!isDigest(content_hash) || !isDigest(schema_hash)) return undefined;
  return { owner, name, version, parent, content_hash, schema_hash };
}

/** The first field in which a signed statement differs from the version that it is presented for. */
export function differingField(
  signed: DatasetStatement,
  expected: DatasetStatement,
): keyof DatasetStatement | undefined {
  return FIELDS.find((field) => signed[field] !== expected[field]);
}

function isDigest(value: unknown): value is string {
  return typeof value === "string" && /^[0-9a-f]{64}$/.test(value);
}
