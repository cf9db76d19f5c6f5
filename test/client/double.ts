/**
 * An in-memory gateway for client tests: a `fetch` that answers honestly, except where a test
 * makes it lie. It streams over Connect and knows nothing of storage.
 */
import { create, fromBinary, fromJson, toBinary, type JsonValue } from "@bufbuild/protobuf";
import { toHex } from "../../core/bytes.ts";
import { encodeManifest, type ManifestFile } from "../../core/dataset/manifest.ts";
import { parseSchema, schemaHash, withClasses } from "../../core/dataset/schema.ts";
import type { Blake3 } from "../../core/ports.ts";
import {
  batchPositions,
  totalBatches,
  type BatchPlan,
  type TailPolicy as TailPolicyName,
} from "../../core/stream/batches.ts";
import { createOrder } from "../../core/stream/order.ts";
import type { StreamParameters } from "../../core/stream/parameters.ts";
import { concatenatedBatchHash, framedBatchHash, Transcript } from "../../core/stream/transcript.ts";
import {
  AckBatchesRequestSchema,
  BatchHashMode,
  BatchResponseSchema,
  ShuffleMode,
  StreamBatchesRequestSchema,
  type AckBatchesRequest,
  type BatchResponse,
  type StreamBatchesRequest,
} from "../../proto/index.ts";

export interface DoubleFile {
  readonly path: string;
  readonly bytes: Uint8Array;
}

/** One dataset version as the gateway would tell it. A test changes what it likes. */
export interface DoubleVersion {
  info: Record<string, unknown>;
  manifest: Uint8Array;
  files: readonly DoubleFile[];
}

/** What a test may bend; each hook changes its argument in place. */
export interface Lies {
  batch?: (batch: BatchResponse, request: number) => void;
  /** How a response ends before batch N goes out: a broken connection, a clean continuation, or another request's lease. */
  endBefore?: (batchIndex: number, request: number) => "break" | "continue" | "overtaken" | undefined;
}

const TAILS: readonly TailPolicyName[] = ["short", "drop_last", "pad"];

export class GatewayDouble {
  version: DoubleVersion;
  lies: Lies = {};
  readonly requests: StreamBatchesRequest[] = [];
  readonly acknowledgements: AckBatchesRequest[] = [];
  /** Where a request begins that leaves it to the gateway; undefined: where it says. */
  goesOnAt: number | undefined;
  /** How many responses were cancelled by the client before they ended. */
  cancelled = 0;
  readonly #blake3: Blake3;

  constructor(files: readonly DoubleFile[], blake3: Blake3, version = 1) {
    this.#blake3 = blake3;
    this.version = describe(files, blake3, version);
  }

  readonly fetch: typeof fetch = async (input, init) => {
    const url = new URL(input instanceof Request ? input.url : input);
    if (init?.signal?.aborted === true) throw new DOMException("aborted", "AbortError");
    if (url.pathname.endsWith("/manifest")) return new Response(this.version.manifest.slice());
    if (url.pathname.startsWith("/api/datasets/")) return Response.json(this.version.info);
    if (url.pathname.endsWith("/AckBatches")) {
      const request = fromJson(AckBatchesRequestSchema, JSON.parse(init?.body as string) as JsonValue);
      this.acknowledgements.push(request);
      return Response.json({ acknowledgedBatches: String(request.batchIndex + 1n) });
    }
    const body = init?.body as Uint8Array;
    return this.#stream(fromBinary(StreamBatchesRequestSchema, body.subarray(5)));
  };

  #stream(request: StreamBatchesRequest): Response {
    this.requests.push(request);
    const requestNumber = this.requests.length;
    const segment = this.#segment(request);
    let next = Number(request.resumeBatchIndex ?? 0n);
    for (let index = 0; index < next; index++) segment.build(index);
    const body = new ReadableStream<Uint8Array>(
      {
        pull: (controller) => {
          const end = this.lies.endBefore?.(next, requestNumber);
          if (end === "break") {
            controller.error(new TypeError("connection reset"));
            return;
          }
          if (end === "overtaken") {
            const error = { code: "aborted", message: "Another request took over this rank of the stream." };
            controller.enqueue(frame(2, new TextEncoder().encode(JSON.stringify({ error }))));
            controller.close();
            return;
          }
          if (end === "continue" || next >= segment.total) {
            const metadata =
              end === "continue" ? { metadata: { "cyxcloud-continuation": [String(next)] } } : {};
            controller.enqueue(frame(2, new TextEncoder().encode(JSON.stringify(metadata))));
            controller.close();
            return;
          }
          const batch = segment.build(next);
          this.lies.batch?.(batch, requestNumber);
          controller.enqueue(frame(0, toBinary(BatchResponseSchema, batch)));
          next += 1;
        },
        cancel: () => {
          this.cancelled += 1;
        },
      },
      // Makes a batch when it is asked for, so that tests know which were.
      { highWaterMark: 0 },
    );
    return new Response(body, { headers: { "content-type": "application/connect+proto" } });
  }

  #segment(request: StreamBatchesRequest): { total: number; build: (index: number) => BatchResponse } {
    const blake3 = this.#blake3;
    const { info, files } = this.version;
    const tail = TAILS[request.tail] as TailPolicyName;
    const parameters: StreamParameters = {
      datasetId: String(info["id"]),
      contentHash: blake3.hash(this.version.manifest),
      schemaHash: schemaHash(parseSchema(info["schema"]), blake3),
      mode: request.shuffleMode === ShuffleMode.SHUFFLE_FULL ? "full" : "sequential",
      seed: request.seed,
      batchSize: request.batchSize,
      tail,
      batchHash: request.batchHashMode === BatchHashMode.BATCH_HASH_FRAMED ? "framed" : "concatenated",
      processingHash: request.processingHash.length === 0 ? undefined : request.processingHash,
    };
    const plan: BatchPlan = {
      count: files.length,
      batchSize: request.batchSize,
      worldSize: Math.max(1, request.worldSize),
      rank: request.rank,
      start:
        request.resumeBatchIndex === undefined && this.goesOnAt !== undefined
          ? this.goesOnAt
          : Number(request.startIndex),
      tail,
    };
    const { mode, contentHash, seed } = parameters;
    const order = createOrder({ mode, count: files.length, contentHash, seed, epoch: request.epoch });
    const start = {
      parameters,
      epoch: request.epoch,
      rank: plan.rank,
      worldSize: plan.worldSize,
      startIndex: plan.start,
    };
    const transcript = Transcript.start(start, blake3);
    const total = totalBatches(plan);
    const build = (index: number): BatchResponse => {
      const { positions, padded } = batchPositions(plan, index);
      const indices = positions.map((position) => order.itemAt(position));
      const items = indices.map((i) => (files[i] as DoubleFile).bytes.slice());
      const itemHashes = items.map((item) => blake3.hash(item));
      return create(BatchResponseSchema, {
        batchIndex: BigInt(index),
        items,
        itemHashes,
        batchHash:
          parameters.batchHash === "framed"
            ? framedBatchHash(
                index,
                items.map((item) => item.length),
                itemHashes,
                blake3,
              )
            : concatenatedBatchHash(items, blake3),
        totalBatches: BigInt(total),
        isLast: index === total - 1,
        itemIndices: indices.map(BigInt),
        streamId: request.streamId,
        epoch: request.epoch,
        transcriptHead: transcript.advance(index, indices, itemHashes),
        paddedItems: padded,
        lease: BigInt(this.requests.length),
        startIndex: BigInt(plan.start),
        worldSize: plan.worldSize,
      });
    };
    return { total, build };
  }
}

/** The truthful description of a version; file order must be path-byte order. */
export function describe(files: readonly DoubleFile[], blake3: Blake3, version: number): DoubleVersion {
  const entries: ManifestFile[] = files.map(({ path, bytes }) => ({
    path,
    size: bytes.length,
    contentHash: blake3.hash(bytes),
  }));
  const manifest = encodeManifest(entries);
  const schema = withClasses(
    parseSchema({ type: "bytes", format: "bin", labels: "path" }),
    files.map((file) => file.path),
  );
  const info = {
    id: `00000000-0000-4000-8000-${String(version).padStart(12, "0")}`,
    name: "letters",
    owner: "owner",
    version,
    parent_id: null,
    description: "",
    schema,
    schema_hash: toHex(schemaHash(schema, blake3)),
    content_hash: toHex(blake3.hash(manifest)),
    total_size_bytes: files.reduce((sum, file) => sum + file.bytes.length, 0),
    file_count: files.length,
    max_item_bytes: Math.max(...files.map((file) => file.bytes.length)),
    manifest_size_bytes: manifest.length,
    trust_level: 0,
    trust: "self",
    created_at: "2026-11-01T00:00:00.000Z",
  };
  return { info, manifest, files };
}

function frame(flags: number, message: Uint8Array): Uint8Array {
  const framed = new Uint8Array(5 + message.length);
  framed[0] = flags;
  new DataView(framed.buffer).setUint32(1, message.length);
  framed.set(message, 5);
  return framed;
}

/** `count` small files in two class folders, all different; `salt` makes another dataset of the same paths. */
export function someFiles(count: number, salt = 0): DoubleFile[] {
  return Array.from({ length: count }, (_, i) => ({
    path: `${i < count / 2 ? "a" : "b"}/${String(i).padStart(4, "0")}.bin`,
    bytes: Uint8Array.from({ length: 16 + (i % 7) }, (_unused, j) => (i * 31 + j * 7 + salt) & 0xff),
  }));
}
