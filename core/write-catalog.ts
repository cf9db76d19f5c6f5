/**
 * What uploads and garbage collection need from the catalog. `catalog/write-catalog.ts` implements it over SQL.
 *
 * Every method is one statement or one transaction: it takes effect as a whole or not at all. A method that
 * throws anything but `SqlError` or a refusal named here may still have taken effect.
 */

export type UploadKind = "object" | "tar";

export interface NewUpload {
  readonly id: string;
  readonly bucketId: string;
  readonly kind: UploadKind;
  /** The object's key, or what precedes the path of every entry of a tar. */
  readonly key: string;
  readonly partBytes: number;
  readonly expectedSha256: Uint8Array | null;
  readonly leaseExpiresAt: Date;
}

/** An upload and its bucket. */
export interface Upload extends NewUpload {
  readonly ownerId: string;
  readonly bucketName: string;
  readonly state: "open" | "completed" | "aborted";
  /** Number of parts accepted so far, each retry counted. */
  readonly revision: number;
  readonly result: UploadResult | null;
  /** Of the bucket. */
  readonly chunkBytes: number;
  readonly dataShards: number;
  readonly parityShards: number;
}

export interface UploadPart {
  readonly partNumber: number;
  readonly attempt: string;
  /** Of the body. */
  readonly size: number;
  /** BLAKE3 of the body. */
  readonly contentHash: Uint8Array;
  /** BLAKE3 chaining value of the part as a subtree of its object; null for a tar. */
  readonly chainingValue: Uint8Array | null;
  readonly fileCount: number;
  /** Bytes of the files, without a tar's headers. */
  readonly fileBytes: number;
  readonly chunkCount: number;
  /** Chunks with a shard that awaits repair. */
  readonly degradedCount: number;
}

/** What complete answers, as it is stored: hashes in lowercase hexadecimal. */
export interface UploadResult {
  readonly objects: number;
  readonly bytes: number;
  readonly chunks: number;
  readonly degraded_chunks: number;
  readonly object?: {
    readonly bucket: string;
    readonly key: string;
    readonly size: number;
    readonly content_hash: string;
    readonly sha256: string | null;
  };
}

/** A chunk that is about to be written: recorded before its first shard is put. */
export interface ChunkIntent {
  readonly id: string;
  readonly dataShards: number;
  readonly parityShards: number;
  /** Node of each shard, by index. */
  readonly nodeIds: readonly string[];
}

export interface WrittenShard {
  readonly hash: Uint8Array;
  /** False: no node confirmed it; it awaits repair. */
  readonly stored: boolean;
}

/** A chunk with enough shards in place to be committed. */
export interface WrittenChunk {
  readonly id: string;
  readonly length: number;
  readonly shardLength: number;
  readonly contentHash: Uint8Array;
  /** By index. */
  readonly shards: readonly WrittenShard[];
}

export interface StagedExtent {
  readonly chunkId: string;
  readonly chunkOffset: number;
  readonly objectOffset: number;
  readonly length: number;
}

/** One file of a tar part. */
export interface StagedFile {
  readonly id: string;
  readonly key: string;
  readonly size: number;
  readonly contentHash: Uint8Array;
  readonly sha256: Uint8Array;
  readonly extents: readonly StagedExtent[];
}

/** What the files of a part are: its share of the one object, or the entries of a tar. */
export type PartContent =
  | {
      readonly kind: "object";
      readonly extents: readonly StagedExtent[];
      /** SHA-256 of the part where it could be the whole object. */
      readonly sha256: Uint8Array | null;
    }
  | { readonly kind: "tar"; readonly files: readonly StagedFile[] };

export interface PartCommit {
  readonly upload: Upload;
  readonly part: UploadPart;
  readonly chunks: readonly WrittenChunk[];
  /** Intents that came to nothing; no shard of theirs was ever put. */
  readonly unusedIntents: readonly string[];
  readonly content: PartContent;
  readonly leaseExpiresAt: Date;
}

/**
 * Why a commit was refused; nothing of it took effect. not-open: the upload was completed or aborted ·
 * lapsed: an intent ran out and was collected · duplicate: `key` is in another part of the upload already ·
 * changed: a part was accepted after the parts were read.
 */
export type CommitRefusal =
  | { readonly refused: "not-open" | "lapsed" | "changed" }
  | { readonly refused: "duplicate"; readonly key: string };

export interface CompleteUpload {
  readonly upload: Upload;
  /** What the parts were read at. */
  readonly revision: number;
  /** Undefined for a tar, whose files know theirs. */
  readonly object?: { readonly size: number; readonly contentHash: Uint8Array; readonly keepSha256: boolean };
  readonly result: UploadResult;
}

export interface UploadCatalog {
  createUpload(upload: NewUpload): Promise<void>;
  /** Undefined when there is none, or it belongs to another owner than the given one. */
  findUpload(uploadId: string, ownerId: string | undefined): Promise<Upload | undefined>;
  /** All accepted parts in order. */
  listParts(uploadId: string): Promise<readonly UploadPart[]>;
  /** The row that an upload of one object fills, and the SHA-256 of its first part. */
  findStagedObject(uploadId: string): Promise<{ readonly id: string; readonly sha256: Uint8Array | null }>;
  insertIntents(intents: readonly ChunkIntent[], leaseExpiresAt: Date): Promise<void>;
  commitPart(commit: PartCommit): Promise<"committed" | CommitRefusal>;
  /**
   * For a commit whose answer was lost: tells whether it took effect, and makes sure that it cannot any more if
   * it did not, by condemning its chunks.
   */
  settlePart(commit: PartCommit, now: Date): Promise<boolean>;
  completeUpload(completion: CompleteUpload): Promise<"committed" | CommitRefusal>;
  /** The state after the call; undefined when there is no such upload of this owner. Completed ones stay so. */
  abortUpload(uploadId: string, ownerId: string): Promise<Upload["state"] | undefined>;
}

/** A stored shard whose key has to go. */
export interface ShardToDelete {
  readonly chunkId: string;
  readonly index: number;
  readonly generation: number;
  readonly nodeId: string;
}

/**
 * Steps of garbage collection. Each handles at most `limit` rows and answers how many; none of them can touch
 * what a concurrent commit makes visible. `before` is a time on the caller's clock.
 */
export interface GarbageCatalog {
  /** Open uploads whose lease ended before → aborted. */
  abortExpiredUploads(before: Date, limit: number): Promise<number>;
  /** Deletes staged objects of aborted uploads. */
  deleteStagedObjects(limit: number): Promise<number>;
  /** Deletes dropped objects that no dataset uses. */
  deleteDroppedObjects(limit: number): Promise<number>;
  /** Intents whose lease ended before → condemned at `now`. */
  condemnLapsedIntents(before: Date, now: Date, limit: number): Promise<number>;
  /** Live chunks that lost their last reference → condemned at `now`. */
  condemnLooseChunks(now: Date, limit: number): Promise<number>;
  /** Chunks condemned before, with every shard that may exist. */
  findCondemnedChunks(before: Date, limit: number): Promise<ReadonlyMap<string, readonly ShardToDelete[]>>;
  /** Condemned → deleted. Call it when every shard is known to be gone. */
  markDeleted(chunkIds: readonly string[]): Promise<number>;
  /** Forgets deleted chunks that were condemned before, and closed uploads whose lease ended before. */
  prune(before: Date, limit: number): Promise<number>;
  findRetiredShards(before: Date, limit: number): Promise<readonly ShardToDelete[]>;
  forgetRetiredShards(shards: readonly ShardToDelete[]): Promise<number>;
}

export type WriteCatalog = UploadCatalog & GarbageCatalog;
