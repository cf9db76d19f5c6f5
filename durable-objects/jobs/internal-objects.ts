/** Objects that the service keeps beside a user's own: manifests and their page trees. */

/** The bucket that holds them, one for each owner. Users can neither name nor see it: their names begin with a letter or digit. */
export const INTERNAL_BUCKET = ".datasets";

export interface InternalObjects {
  /** Opens an upload of one object under a key of the internal bucket. */
  begin(ownerId: string, key: string): Promise<{ readonly uploadId: string; readonly partBytes: number }>;
  /** Stores part `partNumber` (from 1) of exactly `length` bytes; again in its place when it was stored before. */
  putPart(part: InternalPart): Promise<void>;
  /** Makes the object live; again the same answer when it is. */
  complete(ownerId: string, uploadId: string, parts: number): Promise<InternalObject>;
  /** A small object in one call, in place of what the key named. */
  put(ownerId: string, key: string, bytes: Uint8Array): Promise<InternalObject>;
  /** Gives up an upload, if there is one, and makes the keys name nothing. */
  discard(ownerId: string, uploadId: string | undefined, keys: readonly string[]): Promise<void>;
  /**
   * Bytes of an object, or of a part of it, verified before they are handed out.
   * @throws `data_loss` when they cannot be recovered.
   */
  read(
    objectId: string,
    range?: { readonly offset: number; readonly length: number },
  ): AsyncIterable<Uint8Array>;
}

export interface InternalPart {
  readonly ownerId: string;
  readonly uploadId: string;
  readonly partNumber: number;
  readonly bytes: AsyncIterable<Uint8Array>;
  readonly length: number;
}

export interface InternalObject {
  readonly objectId: string;
  readonly contentHash: Uint8Array;
  readonly size: number;
}

export function manifestKey(datasetId: string): string {
  return `${datasetId}/manifest`;
}

export function pageTreeKey(datasetId: string): string {
  return `${datasetId}/pages`;
}
