/** Everything that fixes the content of a stream: two streams with equal parameters send the same items. */
import type { DatasetFilter } from "../dataset/filter.ts";
import { canonicalJson } from "../canonical-json.ts";
import { fromHex, toHex } from "../bytes.ts";
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
  /** 32 bytes that name what the consumer does with the items; undefined where nothing is named. */
  readonly processingHash?: Uint8Array | undefined;
}

const HASH_CONTEXT = "cyxcloud-datastream 2026-11 stream parameters v1";

/** A JSON value; `canonicalJson` of it is what is hashed, stored and compared. */
export type ParametersJson = Record<string, unknown>;

/**
 * The parameters as JSON: snake_case keys, hashes in lowercase hexadecimal, the seed as the decimal text of a
 * signed 64-bit integer, and null for what does not apply. Every key is always there.
 */
export function parametersJson(parameters: StreamParameters): ParametersJson {
  const { filter, viewHash, block, processingHash } = parameters;
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
    processing_hash: processingHash === undefined ? null : toHex(processingHash),
  };
}

const MODES: readonly unknown[] = ["sequential", "full", "block"] satisfies OrderMode[];
const TAILS: readonly unknown[] = ["short", "drop_last", "pad"] satisfies TailPolicy[];
const BATCH_HASHES: readonly unknown[] = ["concatenated", "framed"] satisfies BatchHashMode[];

/**
 * Reads what `parametersJson` wrote; undefined where a member is missing or has another type. Whoever must know that
 * nothing else was there compares `parametersJson` of the result.
 */
export function parseParameters(json: ParametersJson): StreamParameters | undefined {
  const { dataset_id, mode, seed, block_size, lanes, blocks_per_group, batch_size, tail, batch_hash } = json;
  const contentHash = digestOf(json["content_hash"]);
  const schemaHash = digestOf(json["schema_hash"]);
  const viewHash = digestOf(json["view_hash"]);
  const processingHash = digestOf(json["processing_hash"]);
  const filter = filterOf(json["filter"]);
  if (typeof dataset_id !== "string" || contentHash === undefined || schemaHash === undefined)
    return undefined;
  if (!MODES.includes(mode) || !TAILS.includes(tail) || !BATCH_HASHES.includes(batch_hash)) return undefined;
  if (typeof seed !== "string" || !/^-?\d{1,19}$/.test(seed) || typeof batch_size !== "number")
    return undefined;
  if ((filter === undefined) !== (viewHash === undefined)) return undefined;
  const numbers = [block_size, lanes, blocks_per_group];
  if (mode === "block" && !numbers.every((each) => typeof each === "number")) return undefined;
  return {
    datasetId: dataset_id,
    contentHash,
    schemaHash,
    mode: mode as OrderMode,
    seed: BigInt(seed),
    ...(mode === "block" && {
      block: {
        blockSize: block_size as number,
        lanes: lanes as number,
        blocksPerGroup: blocks_per_group as number,
      },
    }),
    batchSize: batch_size,
    tail: tail as TailPolicy,
    ...(filter && { filter, viewHash }),
    batchHash: batch_hash as BatchHashMode,
    ...(processingHash && { processingHash }),
  };
}

function digestOf(value: unknown): Uint8Array | undefined {
  return typeof value === "string" && value.length === 64 ? fromHex(value) : undefined;
}

function filterOf(value: unknown): DatasetFilter | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  const { prefix, globs } = value as { prefix?: unknown; globs?: unknown };
  const texts = Array.isArray(globs) && globs.every((glob) => typeof glob === "string") ? globs : undefined;
  return {
    ...(typeof prefix === "string" && { prefix }),
    ...(texts && { globs: texts }),
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
