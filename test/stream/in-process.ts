/** The stream's own code without workerd: nodes in memory behind the fault harness, a session in plain objects. */
import { createHash, randomUUID } from "node:crypto";
import { create, fromBinary } from "@bufbuild/protobuf";
import { ChunkCache } from "../../catalog/chunk-cache.ts";
import { insertToken } from "../../catalog/tokens.ts";
import { encodeManifest } from "../../core/dataset/manifest.ts";
import { DataStreamError } from "../../core/errors.ts";
import { ISOLATE_BUDGET_BYTES } from "../../core/limits.ts";
import { acknowledge, attach, recordWindow } from "../../core/stream/session.ts";
import type { Deps } from "../../functions/deps.ts";
import type { Env } from "../../functions/env.ts";
import { createLog } from "../../functions/log.ts";
import { TokenSigner } from "../../functions/tokens.ts";
import { streamMessages } from "../../functions/datastream/stream/generic.ts";
import { openStream, type RunningStream, type StreamCall } from "../../functions/datastream/stream/open.ts";
import { ENVELOPE_BYTES } from "../../functions/datastream/stream/message.ts";
import type { StreamEnd } from "../../functions/datastream/stream/producer.ts";
import {
  type BatchResponse,
  BatchResponseSchema,
  type StreamBatchesRequest,
  StreamBatchesRequestSchema,
} from "../../proto/index.ts";
import { createSigningKeys } from "../../scripts/stack/state.ts";
import { ByteBudget } from "../../storage/byte-budget.ts";
import { FaultHarness, type HarnessLimits } from "../support/faults.ts";
import { type Bench, createBench, upload } from "../storage-write/fixture.ts";
import { packTar } from "modern-tar";
import type { TestFile } from "./fixture.ts";
import { kernels } from "./fixture.ts";
import { MemoryRecords } from "./records.ts";
import type { StreamInit } from "./wire.ts";

export interface InProcess {
  readonly bench: Bench;
  readonly harness: FaultHarness;
  readonly budget: ByteBudget;
  readonly dataset: {
    readonly id: string;
    readonly contentHash: Uint8Array;
    readonly schemaHash: Uint8Array;
    readonly files: readonly (TestFile & { readonly hash: Uint8Array })[];
  };
  /** A new invocation. */
  open(init: StreamInit): Promise<RunningStream>;
  /** The same for codecs without a path of their own. */
  messages(init: StreamInit): AsyncGenerator<BatchResponse>;
  /** Moves the gateway's clock. */
  advance(milliseconds: number): void;
  revokeToken(): Promise<void>;
  /** Work that outlived its stream. */
  settled(): Promise<void>;
  close(): Promise<void>;
}

export interface InProcessOptions {
  readonly limits?: Partial<HarnessLimits>;
  readonly subrequests?: number;
  readonly chunkBytes?: number;
  readonly budgetBytes?: number;
}

export async function createInProcess(
  files: readonly TestFile[],
  options: InProcessOptions = {},
): Promise<InProcess> {
  const bench = await createBench({ chunkBytes: options.chunkBytes ?? 16 * 1024 });
  const harness = new FaultHarness(options.limits);
  const budget = new ByteBudget(options.budgetBytes ?? ISOLATE_BUDGET_BYTES, 2_000);
  const writes = bench.deps();
  const tar = await packTar(
    files.map(({ path, bytes }) => ({
      header: { name: path, size: bytes.length, type: "file" as const },
      body: bytes,
    })),
  );
  await upload(bench, writes, { kind: "tar", key: "files/" }, [tar]);
  const hashed = files.map((file) => ({ ...file, hash: kernels.blake3.hash(file.bytes) }));
  const dataset = await addRows(bench, hashed);

  const signingKeys = createSigningKeys();
  const tokens = await TokenSigner.load(signingKeys, "urn:test");
  const now = Math.floor(Date.now() / 1000);
  const claims = {
    id: randomUUID(),
    userId: bench.ownerId,
    datasetId: dataset.id,
    scopes: ["read", "stream"] as const,
    issuedAt: now,
    expiresAt: now + 3600,
  };
  const accessToken = await tokens.sign(claims);
  await insertToken(bench.sql, {
    ...claims,
    issuedBy: claims.userId,
    tokenHash: createHash("sha256").update(accessToken).digest(),
    createdAt: new Date(now * 1000),
    expiresAt: new Date((now + 3600) * 1000),
  });

  const pending = new Set<Promise<unknown>>();
  const clock = { time: Date.now(), now: () => clock.time };
  const deps: Deps = {
    sql: harness.wrapSql(bench.sql),
    nodes: bench.deps({ wrap: (store, index) => harness.wrapStore(store, `node-${index + 1}`) }).nodes,
    kernels,
    chunks: new ChunkCache(clock),
    tokens,
    proofs: { useOnce: () => Promise.reject(new Error("No token here is bound.")) },
    budget,
    clock,
    log: createLog(() => {}),
    config: {
      issuer: "urn:test",
      invocationSubrequests: options.subrequests ?? 8_000,
      gcGraceMs: 1,
      uploadLeaseMs: 1,
    },
  };
  const env = { STREAM_SESSIONS: sessionsOf(harness) } as unknown as Env;

  const invoke = (init: StreamInit): [StreamCall, StreamBatchesRequest] => {
    harness.newInvocation();
    const message = create(StreamBatchesRequestSchema, { datasetId: dataset.id, accessToken, ...init });
    const waitUntil = (work: Promise<unknown>): void => {
      pending.add(work);
      void work.finally(() => pending.delete(work));
    };
    return [{ env, deps, request: new Request(REQUEST_URL, { method: "POST" }), waitUntil }, message];
  };
  return {
    bench,
    harness,
    budget,
    dataset,
    open: (init) => openStream(...invoke(init)),
    messages: (init) => streamMessages(...invoke(init), new AbortController().signal, new Headers()),
    advance(milliseconds) {
      clock.time += milliseconds;
    },
    async revokeToken() {
      await bench.sql.query({ text: "UPDATE data_access_tokens SET revoked_at = now()", values: [] });
    },
    async settled() {
      while (pending.size > 0) await Promise.all(pending);
    },
    close: () => bench.close(),
  };
}

const REQUEST_URL = "https://gateway.example/";

/** Reads to the end of the response, copying each message as the runtime would. */
export async function drain(stream: RunningStream): Promise<{ batches: BatchResponse[]; end: StreamEnd }> {
  const batches: BatchResponse[] = [];
  try {
    for (;;) {
      const next = await stream.next();
      if (next.kind !== "batch") return { batches, end: next };
      batches.push(fromBinary(BatchResponseSchema, next.bytes.slice(ENVELOPE_BYTES)));
    }
  } finally {
    stream.close();
  }
}

/** A namespace of objects that live in this process; each call counts as one of the invocation's. */
function sessionsOf(harness: FaultHarness): unknown {
  const sessions = new Map<string, MemoryRecords>();
  return {
    idFromName: (name: string) => name,
    get(name: string) {
      const records = sessions.get(name) ?? new MemoryRecords();
      sessions.set(name, records);
      const call =
        <A, T>(run: (records: MemoryRecords, argument: A) => T) =>
        async (argument: A) => {
          // Counted as a query that does nothing.
          await harness
            .wrapSql({ query: async () => [], transaction: async () => [] }, "session")
            .query({ text: "", values: [] });
          try {
            return { ok: true, value: run(records, argument) };
          } catch (thrown) {
            if (!(thrown instanceof DataStreamError)) throw thrown;
            const { code, message, details } = thrown;
            return { ok: false, error: { code, message, details } };
          }
        };
      return { attach: call(attach), record: call(recordWindow), acknowledge: call(acknowledge) };
    },
  };
}

async function addRows(bench: Bench, files: InProcess["dataset"]["files"]): Promise<InProcess["dataset"]> {
  const id = randomUUID();
  const contentHash = kernels.blake3.hash(
    encodeManifest(files.map(({ path, bytes, hash }) => ({ path, size: bytes.length, contentHash: hash }))),
  );
  const schemaHash = kernels.blake3.hash(new Uint8Array(1));
  const [manifest] = await bench.sql.query({ text: "SELECT id FROM objects LIMIT 1", values: [] });
  const sizes = files.map(({ bytes }) => bytes.length);
  await bench.sql.query({
    text: `INSERT INTO datasets (id, owner_id, name, state, version, schema, schema_hash, content_hash,
      total_size_bytes, file_count, max_item_bytes, manifest_object_id, tree_object_id)
      VALUES ($1, $2, 'set', 'ready', 1, '{}', $3, $4, $5, $6, $7, $8, $8)`,
    values: [
      id,
      bench.ownerId,
      schemaHash,
      contentHash,
      sizes.reduce((sum, size) => sum + size, 0),
      files.length,
      Math.max(...sizes),
      manifest?.["id"] as string,
    ],
  });
  await bench.sql.query({
    text: `INSERT INTO dataset_files (dataset_id, file_index, object_id, path_in_dataset, content_hash, size_bytes)
      SELECT $1, asked.position - 1, o.id, asked.path, o.content_hash, o.size
      FROM unnest($2::text[]) WITH ORDINALITY AS asked (path, position)
      JOIN objects o ON o.key = 'files/' || asked.path AND o.state = 'live'`,
    values: [id, files.map(({ path }) => path)],
  });
  return { id, contentHash, schemaHash, files };
}
