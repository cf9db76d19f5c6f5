/** Names of datasets, and the ways to refer to one. */
import { fromHex } from "../bytes.ts";
import { invalidArgument } from "../errors.ts";
import { DATASET_NAME_MAX_CHARS } from "../limits.ts";
import { quoted } from "../text.ts";

const NAME = /^[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?$/;
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
/** Versions are PostgreSQL integers. */
const VERSION_MAX = 2 ** 31 - 1;

export function isUuid(text: string): boolean {
  return UUID.test(text);
}

/**
 * A name has 1 to 128 of a–z, 0–9, `.`, `_` and `-`, begins and ends with a letter or digit, and does not look like
 * a UUID, so that no reference can mean two datasets. Owners are named by the same rules.
 * @throws `invalid_argument` naming the field and the rule.
 */
export function checkDatasetName(name: string, field: string = "name"): void {
  const refuse = (rule: string): Error =>
    invalidArgument(field, `${quoted(name)} ${rule}.`, { limit: DATASET_NAME_MAX_CHARS });
  if (name === "" || name.length > DATASET_NAME_MAX_CHARS)
    throw refuse(`must have 1 to ${DATASET_NAME_MAX_CHARS} characters`);
  if (!NAME.test(name))
    throw refuse(
      "must consist of lowercase letters, digits, '.', '_' and '-', and begin and end with a letter or digit",
    );
  if (UUID.test(name)) throw refuse("looks like a dataset id; choose a name that does not");
}

/** What a `dataset_id` says: an id or a name, and perhaps what exactly is meant by it. */
export type DatasetReference = (
  | { readonly id: string; readonly name?: undefined; readonly owner?: undefined }
  | { readonly id?: undefined; readonly name: string; readonly owner?: string }
) & {
  /** The latest version unless given. An id already names one version. */
  readonly version?: number;
  /** 32 bytes that the dataset's manifest must hash to: a pin that does not come from the gateway. */
  readonly contentHash?: Uint8Array;
};

/**
 * Reads `UUID`, `name`, `owner/name`, each of the names with `@3` for a version, and any with `@blake3:HEX` for a
 * content hash. UUIDs may be written in capitals.
 * @throws `invalid_argument` naming the field.
 */
export function parseDatasetReference(text: string, field: string = "dataset_id"): DatasetReference {
  const at = text.indexOf("@");
  const subject = at === -1 ? text : text.slice(0, at);
  const qualifier = at === -1 ? undefined : parseQualifier(text.slice(at + 1), field);
  if (UUID.test(subject.toLowerCase())) {
    if (qualifier?.version !== undefined)
      throw invalidArgument(field, "an id names one version already; leave out the '@' and what follows.");
    return { id: subject.toLowerCase(), ...qualifier };
  }
  const slash = subject.indexOf("/");
  const name = subject.slice(slash + 1);
  checkDatasetName(name, field);
  if (slash === -1) return { name, ...qualifier };
  const owner = subject.slice(0, slash);
  checkDatasetName(owner, field);
  return { owner, name, ...qualifier };
}

function parseQualifier(text: string, field: string): { version?: number; contentHash?: Uint8Array } {
  if (text.startsWith("blake3:")) {
    const contentHash = fromHex(text.slice("blake3:".length));
    if (contentHash?.length === 32) return { contentHash };
    throw invalidArgument(field, "after '@blake3:' come 64 hexadecimal digits.");
  }
  const version = /^[1-9][0-9]*$/.test(text) ? Number(text) : 0;
  if (version >= 1 && version <= VERSION_MAX) return { version };
  throw invalidArgument(
    field,
    "after '@' comes a version number from 1 on, or 'blake3:' and a content hash.",
    {
      limit: VERSION_MAX,
    },
  );
}
