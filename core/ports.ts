/**
 * What the domain needs from outside, as interfaces. Adapters live at the edge
 * (`kernels/`, `storage/`, `catalog/`, `functions/deps.ts`), tests inject faults through them.
 */

/** BLAKE3 (https://github.com/BLAKE3-team/BLAKE3-specs); every digest is 32 bytes and owned by the caller. */
export interface Blake3 {
  hash(bytes: Uint8Array): Uint8Array;
  /** Key derivation mode; the digest of `bytes` under `context`. */
  deriveKey(context: string, bytes: Uint8Array): Uint8Array;
  /**
   * Non-root chaining value of a subtree that starts at `byteOffset` of its file.
   * `byteOffset` must be a multiple of 1024, and the subtree must be aligned: its
   * length may not exceed the largest power of two that divides `byteOffset`.
   */
  subtree(bytes: Uint8Array, byteOffset: number): Uint8Array;
  /** Chaining value (or, as root, the digest) of a parent node. */
  parent(left: Uint8Array, right: Uint8Array, isRoot: boolean): Uint8Array;
  incremental(): Blake3Incremental;
}

export interface Blake3Incremental {
  update(bytes: Uint8Array): void;
  /** Ends the computation and gives its kernel memory back; the object must not be used again. */
  digest(): Uint8Array;
  /** Gives the kernel memory back without a digest. */
  dispose(): void;
}

/** Wall clock in milliseconds since 1970. */
export interface Clock {
  now(): number;
}

/** Outcome of a create-only write. A store never overwrites an existing key. */
export type PutOutcome = "created" | "exists";

/**
 * One storage node. Keys are immutable: written once, never overwritten.
 * Methods throw `DataStreamError` with `unavailable` when the node does not answer
 * as it should; an absent key is not an error.
 */
export interface ShardStore {
  /** Create-only. Bytes are not retained after the promise settles. */
  put(key: string, bytes: Uint8Array): Promise<PutOutcome>;
  /**
   * Reads `length` bytes from `offset`. `into` (of at least `length` bytes, starting at byte 0 of its
   * buffer, not empty) is consumed: a store may transfer its buffer, as BYOB streams do. The result is a
   * view of exactly `length` bytes over the same memory; recycle `result.buffer`, never `into`.
   * Undefined when the key is absent or holds fewer bytes than asked for.
   */
  read(
    key: string,
    offset: number,
    length: number,
    into: Uint8Array<ArrayBuffer>,
  ): Promise<Uint8Array<ArrayBuffer> | undefined>;
  /** Size in bytes, or undefined when absent. */
  size(key: string): Promise<number | undefined>;
  /** Absent keys are ignored. */
  delete(keys: readonly string[]): Promise<void>;
  /** Up to 1,000 keys under a prefix, in byte order, after `startAfter`. */
  list(prefix: string, startAfter?: string): Promise<readonly string[]>;
}

export type SqlValue =
  | string
  | number
  | bigint
  | boolean
  | null
  | Uint8Array
  | readonly (string | number | bigint | boolean | null)[];
export interface SqlStatement {
  readonly text: string;
  readonly values: readonly SqlValue[];
}
/** Rows come back as objects; int8 as bigint, bytea as Uint8Array, timestamptz as Date, jsonb parsed. */
export type SqlRow = Record<string, unknown>;

/** PostgreSQL. A failed constraint surfaces as `SqlError` with the SQLSTATE. */
export interface Sql {
  query(statement: SqlStatement): Promise<readonly SqlRow[]>;
  /** All statements in one non-interactive transaction; all or none take effect. Rows per statement. */
  transaction(statements: readonly SqlStatement[]): Promise<readonly (readonly SqlRow[])[]>;
}

/** A statement that PostgreSQL refused. `state` is the SQLSTATE, for example "23505" for a unique violation. */
export class SqlError extends Error {
  override readonly name = "SqlError";
  readonly state: string;
  readonly constraint: string | undefined;
  constructor(state: string, message: string, constraint?: string) {
    super(message);
    this.state = state;
    this.constraint = constraint;
  }
}
