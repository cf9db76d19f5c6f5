/** The messages of handoff v1 (docs/formats/handoff-v1.md), as both sides see them. */
import type { StreamPosition } from "../../client/stream/batch.ts";
import type { DataType, DatasetSchema } from "../../core/dataset/schema.ts";
import type { ErrorCode, ErrorDetails } from "../../core/errors.ts";

export const PROTOCOL_VERSION = 1;
/** Backends through which another process can be given batches, best first. */
export const HANDOFF_BACKENDS = ["cuda-ipc", "cuda-hostreg", "shm"] as const;
export type HandoffBackend = (typeof HANDOFF_BACKENDS)[number];

/** What open and describe ask for. */
export interface StreamRequest {
  readonly dataset: string;
  readonly access_token: string;
  readonly batch_size: number;
  readonly gateway?: string | undefined;
  readonly stream_id?: string | undefined;
  readonly epoch?: number | undefined;
  readonly epochs?: number | undefined;
  readonly rank?: number | undefined;
  readonly world_size?: number | undefined;
  readonly shuffle?: boolean | "full" | "block" | undefined;
  /** Decimal digits. */
  readonly seed?: string | undefined;
  readonly block?:
    | {
        readonly block_size?: number | undefined;
        readonly lanes?: number | undefined;
        readonly blocks_per_group?: number | undefined;
      }
    | undefined;
  readonly tail?: "short" | "drop_last" | "pad" | undefined;
  readonly filter?:
    | { readonly prefix?: string | undefined; readonly globs?: readonly string[] | undefined }
    | undefined;
  readonly position?: StreamPosition | undefined;
  readonly max_trust_level?: number | undefined;
  readonly prefetch_batches?: number | undefined;
  readonly slots?: number | undefined;
  readonly on_error?: "raise" | "skip" | undefined;
  readonly processing?: Readonly<Record<string, unknown>> | undefined;
  readonly schema_hash?: string | undefined;
  readonly known_keys?: string | undefined;
  readonly cache?: boolean | undefined;
  readonly backend?: "auto" | HandoffBackend | undefined;
  readonly device?:
    | {
        readonly uuid: string;
        readonly pid: number;
        readonly ipc: boolean;
        readonly probe?: string | undefined;
      }
    | undefined;
}

export interface ReleaseMessage {
  readonly type: "release";
  readonly lease: number;
  readonly slot: number;
  readonly acknowledge?: boolean | undefined;
  readonly checkpoint?: boolean | undefined;
}

/** What a client sends. */
export type ClientMessage =
  | ({ readonly type: "open" | "describe" } & StreamRequest)
  | { readonly type: "attached"; readonly handles?: readonly string[] | undefined }
  | ReleaseMessage
  | { readonly type: "paths"; readonly lease: number }
  | { readonly type: "close" };

export interface BackendReport {
  readonly name: HandoffBackend;
  readonly available: boolean;
  readonly reason: string;
}

export interface DatasetDescription {
  readonly id: string;
  readonly name: string;
  readonly version: number;
  readonly content_hash: string;
  readonly schema: DatasetSchema;
  readonly schema_hash: string;
  readonly count: number;
  readonly total_bytes: number;
  readonly pinned: boolean;
  readonly trust_level: number;
}

export interface FormatDescription {
  readonly kind: "tensor" | "bytes";
  readonly dtype: DataType;
  readonly shape: readonly number[];
  readonly layout: string;
}

export interface StreamDescription {
  readonly dataset: DatasetDescription;
  readonly count: number;
  readonly total_batches: number;
  readonly batches_per_epoch: number;
  readonly format: FormatDescription | null;
}

export interface TensorDescription {
  readonly name: "data" | "ends" | "labels" | "indices";
  readonly dtype: DataType;
  readonly shape: readonly number[];
  /** Bytes from the slot's beginning, a multiple of 64. */
  readonly offset: number;
}

export interface SkippedItem {
  readonly index: number;
  readonly path: string;
  readonly message: string;
}

/** What a companion sends. */
export type ServerMessage =
  | {
      readonly type: "welcome";
      readonly protocol: typeof PROTOCOL_VERSION;
      readonly version: string;
      readonly pid: number;
      readonly backends: readonly BackendReport[];
    }
  | ({ readonly type: "described"; readonly stream_id: string | null } & StreamDescription)
  | ({
      readonly type: "opened";
      /** Null only where nothing is left to stream and no id was given. */
      readonly stream_id: string | null;
      readonly backend: HandoffBackend;
      readonly ring: {
        readonly path: string;
        readonly size: number;
        readonly slots: number;
        readonly slot_bytes: number;
      } | null;
    } & StreamDescription)
  | {
      readonly type: "batch";
      readonly lease: number;
      readonly slot: number;
      readonly index: number;
      readonly epoch: number;
      readonly total_batches: number;
      readonly is_last: boolean;
      readonly count: number;
      readonly padded: number;
      readonly tensors: readonly TensorDescription[];
      readonly position: StreamPosition;
      readonly errors: readonly SkippedItem[];
    }
  | { readonly type: "paths"; readonly lease: number; readonly paths: readonly string[] }
  | { readonly type: "end" }
  | {
      readonly type: "error";
      readonly code: ErrorCode;
      readonly message: string;
      readonly details: ErrorDetails;
    };
