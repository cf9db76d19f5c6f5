import { VerificationError } from "./verification-error.ts";

/** What a client remembers of a dataset version that it has seen. Hashes are hexadecimal. */
export interface Pin {
  readonly datasetId: string;
  readonly version: number;
  readonly contentHash: string;
  readonly schemaHash: string;
}

/** Pins by key; keys are opaque strings. */
export interface Pins {
  get(key: string): Pin | undefined;
  set(key: string, pin: Pin): void;
}

/** Remembers pins between runs. */
export interface PinStore {
  /**
   * Looks and remembers in one step: nobody else changes the pins meanwhile. What `change` throws is thrown, and then
   * nothing may be remembered.
   */
  update<T>(change: (pins: Pins) => T): Promise<T>;
}

/** Forgets everything with the process: enough for a single run, not for trust on first use across runs. */
export class MemoryPinStore implements PinStore {
  readonly #pins = new Map<string, Pin>();

  // oxlint-disable-next-line typescript/require-await -- what `change` throws becomes a rejection
  async update<T>(change: (pins: Pins) => T): Promise<T> {
    return change(this.#pins);
  }
}

/**
 * Trust on first use: what a gateway says of a version is remembered, and may never change;
 * what it says is the newest version may never be older than one seen before.
 * @returns whether the version had been seen before.
 * @throws VerificationError for a changed content hash or schema, or an older version served as the newest.
 */
export function checkPin(
  store: PinStore,
  gateway: string,
  reference: string,
  namesVersion: boolean,
  seen: Pin,
): Promise<boolean> {
  const versionKey = `${gateway} ${seen.datasetId}`;
  const referenceKey = `${gateway} ${reference}`;
  return store.update((pins) => {
    const known = pins.get(versionKey);
    if (known !== undefined) mustBeSame(known, seen);
    const newest = pins.get(referenceKey);
    if (newest !== undefined) {
      if (namesVersion || newest.version === seen.version) mustBeSame(newest, seen);
      else if (seen.version < newest.version) {
        throw new VerificationError({
          subject: "version",
          expected: `${newest.version} or newer (it was the newest before)`,
          actual: String(seen.version),
        });
      }
    }
    if (known === undefined) pins.set(versionKey, seen);
    if (newest?.version !== seen.version) pins.set(referenceKey, seen);
    return known !== undefined || newest?.version === seen.version;
  });
}

function mustBeSame(before: Pin, seen: Pin): void {
  mustEqual("content hash", before.contentHash, seen.contentHash);
  mustEqual("schema", before.schemaHash, seen.schemaHash);
  mustEqual("version", String(before.version), String(seen.version));
}

function mustEqual(subject: "content hash" | "schema" | "version", expected: string, actual: string): void {
  if (expected !== actual) throw new VerificationError({ subject, expected, actual });
}
