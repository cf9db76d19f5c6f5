/** Everything that fixes the content of a stream: two streams with equal parameters send the same items. */
import type { DatasetFilter } from "../dataset/filter.ts";
import { canonicalJson } from "../canonical-json.ts";
import { toHex } from "../bytes.ts";
import type { Blake3 } from "../ports.ts";
import { utf8 } from "../text.ts";
import type { TailPolicy } from "./batches.ts";
import type { BlockShape } from "./block-shape.ts";
import type { OrderMode } from "./order.ts";

/** `concatenated`: BLAKE3 over the items' bytes. `framed`: over their sizes and hashes, see `framedBatchHash`. */
export type BatchHashMode = "concatenated" | "framed";

export interface StreamParameters {
  /** UUID of the dataset version. */
  readonly datasetId: string;
  /** 32 bytes. */
  readonly contentHash: Uint8Array;
  /** 32 bytes. */
  readonly schemaHash: Uint8Array;
  readonly mode: OrderMode;
  readonly seed: bigint;
  /** Present exactly when the mode is "block", with the defaults filled in. */
  readonly block?: BlockShape | undefined;
  /** Items of one rank's batch. */
  readonly batchSize: number;
  readonly tail: TailPolicy;
  /** Present together with `viewHash` when a filter narrows the dataset. */
  readonly filter?: DatasetFilter | undefined;
  readonly viewHash?: Uint8Array | undefined;
  readonly batchHash: BatchHashMode;
}

const HASH_CONTEXT = "cyxcloud-datastream 2026-11 stream parameters v1";

/** A JSON value; `canonicalJson` of it is what is hashed, stored and compared. */
export type ParametersJson = Record<string, unknown>;

/**
 * The parameters as JSON: snake_case keys, hashes in lowercase hexadecimal, the seed as the decimal text of a
 * signed 64-bit integer, and null for what does not apply. Every key is always there.
 */
export function parametersJson(parameters: StreamParameters): ParametersJson {
  const { filter, viewHash, block } = parameters;
  return {
    format: 1,
    dataset_id: parameters.datasetId,
    content_hash: toHex(parameters.contentHash),
    schema_hash: toHex(parameters.schemaHash),
    order: "v1",
    mode: parameters.mode,
    seed: BigInt.asIntN(64, parameters.seed).toString(),
    block_size: block?.blockSize ?? null,
    lanes: block?.lanes ?? null,
    blocks_per_group: block?.blocksPerGroup ?? null,
    batch_size: parameters.batchSize,
    tail: parameters.tail,
    filter:
      filter === undefined
        ? null
        : { prefix: filter.prefix ?? null, globs: filter.globs === undefined ? null : [...filter.globs] },
    view_hash: viewHash === undefined ? null : toHex(viewHash),
    batch_hash: parameters.batchHash,
  };
}

/** Canonical JSON text (RFC 8785) of the parameters. */
export function encodeParameters(parameters: StreamParameters): string {
  return canonicalJson(parametersJson(parameters), "parameters");
}

/** 32 bytes: BLAKE3 derive_key over the canonical JSON. Equal exactly when the parameters are. */
export function parametersHash(parameters: StreamParameters, blake3: Blake3): Uint8Array {
  return blake3.deriveKey(HASH_CONTEXT, utf8(encodeParameters(parameters)));
}
