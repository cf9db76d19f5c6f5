import { VerificationError } from "./verification-error.ts";

/** What a client remembers of a dataset version that it has seen. Hashes are hexadecimal. */
export interface Pin {
  readonly datasetId: string;
  readonly version: number;
  readonly contentHash: string;
  readonly schemaHash: string;
}

/** Remembers pins between runs; keys are opaque strings. */
export interface PinStore {
  get(key: string): Promise<Pin | undefined>;
  set(key: string, pin: Pin): Promise<void>;
}

/** Forgets everything with the process: enough for a single run, not for trust on first use across runs. */
export class MemoryPinStore implements PinStore {
  readonly #pins = new Map<string, Pin>();

  get(key: string): Promise<Pin | undefined> {
    return Promise.resolve(this.#pins.get(key));
  }

  set(key: string, pin: Pin): Promise<void> {
    this.#pins.set(key, pin);
    return Promise.resolve();
  }
}

/**
 * Trust on first use: what a gateway says of a version is remembered, and may never change;
 * what it says is the newest version may never be older than one seen before.
 * @returns whether the version had been seen before.
 * @throws VerificationError for a changed content hash or schema, or an older version served as the newest.
 */
export async function checkPin(
  store: PinStore,
  gateway: string,
  reference: string,
  namesVersion: boolean,
  seen: Pin,
): Promise<boolean> {
  const versionKey = `${gateway} ${seen.datasetId}`;
  const known = await store.get(versionKey);
  if (known !== undefined) {
    mustEqual("content hash", known.contentHash, seen.contentHash);
    mustEqual("schema", known.schemaHash, seen.schemaHash);
    mustEqual("version", String(known.version), String(seen.version));
  }
  const referenceKey = `${gateway} ${reference}`;
  const newest = await store.get(referenceKey);
  if (newest !== undefined) {
    if (namesVersion || newest.version === seen.version) {
      mustEqual("version", String(newest.version), String(seen.version));
      mustEqual("content hash", newest.contentHash, seen.contentHash);
      mustEqual("schema", newest.schemaHash, seen.schemaHash);
    } else if (seen.version < newest.version) {
      throw new VerificationError({
        subject: "version",
        expected: `${newest.version} or newer (it was the newest before)`,
        actual: String(seen.version),
      });
    }
  }
  await store.set(versionKey, seen);
  await store.set(referenceKey, seen);
  return known !== undefined || (newest !== undefined && newest.version === seen.version);
}

function mustEqual(subject: "content hash" | "schema" | "version", expected: string, actual: string): void {
  if (expected !== actual) throw new VerificationError({ subject, expected, actual });
}
