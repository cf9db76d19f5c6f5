/** The stack that the stream figures are taken from: real uploads, real datasets, and raw requests for them. */
import { randomFillSync } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { create } from "@bufbuild/protobuf";
import type { UploadFile } from "../../client/uploads.ts";
import { DataStreamClient } from "../../client/client.ts";
import { encodeRequest, STREAM_CONTENT_TYPE } from "../../client/stream/frames.ts";
import {
  BatchHashMode,
  DataStreamService,
  ShuffleMode,
  StreamBatchesRequestSchema,
} from "../../proto/index.ts";
import { startStack, type Stack } from "../../scripts/stack/index.ts";
import { type DiskNodes, startDiskNodes } from "./disk-nodes.ts";
import type { LoadRequest } from "./load-client.ts";
import { PIPE_PATH, type PipeRequest } from "./pipe-request.ts";
import { workerdChildren } from "./workerd-process.ts";

/** How the nodes are reached: the simulator of R2 inside the gateway's process, or HTTP servers outside of it. */
export type NodeKind = "r2" | "http";

const PIPE_READ_BYTES = 1024 * 1024;

export interface BenchDataset {
  readonly id: string;
  readonly bytes: number;
  readonly itemBytes: number;
  readonly token: string;
}

export interface StreamShape {
  readonly batchSize: number;
  readonly shuffle?: "sequential" | "block";
  readonly batchHash?: "framed" | "concatenated";
}

export interface ClusterOptions {
  /** The Worker's module. Default: the product with the route that it is compared with. */
  readonly entry?: string;
  readonly inspectorPort?: number;
}

export interface Cluster {
  readonly stack: Stack;
  readonly client: DataStreamClient;
  /** The gateway's process, which changes when it restarts. */
  gatewayPid(): number;
  addDataset(name: string, items: number, itemBytes: number): Promise<BenchDataset>;
  /** Reads every data shard of the dataset, in the order of its items. */
  pipeRequest(dataset: BenchDataset): Promise<LoadRequest>;
  stop(): Promise<void>;
}

export async function startCluster(kind: NodeKind, options: ClusterOptions = {}): Promise<Cluster> {
  const folder = mkdtempSync(join(tmpdir(), "cyxcloud-bench-"));
  let disks: DiskNodes | undefined;
  let stack: Stack | undefined;
  const stop = async (): Promise<void> => {
    await stack?.stop();
    await disks?.stop();
    rmSync(folder, { recursive: true, force: true });
  };
  try {
    const others = new Set(workerdChildren());
    if (kind === "http") {
      disks = await startDiskNodes(folder);
      others.add(disks.pid);
    }
    stack = await startStack({
      entry: options.entry ?? fileURLToPath(new URL("worker.ts", import.meta.url)),
      ...(options.inspectorPort !== undefined && { inspectorPort: options.inspectorPort }),
      onLog: ({ level, message }) => {
        if (level === "error") process.stderr.write(`gateway: ${message}\n`);
      },
    });
    // Before the gateway reads where its nodes are, which it does with its first request.
    for (const [i, url] of disks?.urls.entries() ?? [])
      await stack.sql.query({
        text: "UPDATE storage_nodes SET kind = 'http', address = $1 WHERE name = $2",
        values: [url, `node-${i + 1}`],
      });
    return clusterOf(stack, others, stop);
  } catch (error) {
    await stop();
    throw error;
  }
}

function clusterOf(stack: Stack, others: ReadonlySet<number>, stop: () => Promise<void>): Cluster {
  const client = new DataStreamClient({ gateway: stack.gatewayUrl, apiKey: stack.apiKey });
  return {
    stack,
    client,
    gatewayPid() {
      const pid = workerdChildren().find((each) => !others.has(each));
      if (pid === undefined) throw new Error("The gateway's process is not there.");
      return pid;
    },
    async addDataset(name, items, itemBytes) {
      await client.objects.ensureBucket(name);
      await client.uploadFolder({ bucket: name, prefix: "items/" }, randomFiles(items, itemBytes));
      const { id } = await client.datasets.create({
        name,
        files: [`${name}/items/**`],
        schema: { type: "bytes", format: "raw", shape: [itemBytes], dtype: "uint8" },
      });
      const { token } = await client.datasets.createToken(id);
      return { id, bytes: items * itemBytes, itemBytes, token };
    },
    async pipeRequest(dataset) {
      const body = new TextEncoder().encode(JSON.stringify(await pipeReads(stack, dataset.id)));
      return { path: PIPE_PATH, contentType: "application/json", body };
    },
    stop,
  };
}

/** A whole epoch, as our client asks for it. */
export function streamRequest(dataset: BenchDataset, shape: StreamShape): LoadRequest {
  const body = encodeRequest(
    create(StreamBatchesRequestSchema, {
      datasetId: dataset.id,
      accessToken: dataset.token,
      batchSize: shape.batchSize,
      shuffleMode: shape.shuffle === "block" ? ShuffleMode.SHUFFLE_BLOCK : ShuffleMode.SHUFFLE_SEQUENTIAL,
      batchHashMode:
        shape.batchHash === "concatenated"
          ? BatchHashMode.BATCH_HASH_CONCATENATED
          : BatchHashMode.BATCH_HASH_FRAMED,
    }),
  );
  const path = `/${DataStreamService.typeName}/${DataStreamService.method.streamBatches.name}`;
  return { path, contentType: STREAM_CONTENT_TYPE, body };
}

async function* randomFiles(count: number, bytes: number): AsyncGenerator<UploadFile> {
  for (let i = 0; i < count; i++) {
    const content = randomFillSync(new Uint8Array(bytes));
    yield { path: `${String(i).padStart(7, "0")}.bin`, blob: new Blob([content]) };
  }
}

async function pipeReads({ sql }: Stack, datasetId: string): Promise<PipeRequest> {
  const nodes = await sql.query({ text: "SELECT id, kind, address FROM storage_nodes", values: [] });
  const numberOf = new Map(nodes.map((node, number) => [String(node["id"]), number]));
  const shards = await sql.query({
    text: `SELECT c.id || '/' || s.shard_index || '.' || s.generation AS key, s.node_id, c.shard_length
      FROM (SELECT e.chunk_id, min(f.file_index) AS first FROM dataset_files f JOIN extents e USING (object_id)
        WHERE f.dataset_id = $1 GROUP BY e.chunk_id) AS used
      JOIN chunks c ON c.id = used.chunk_id
      JOIN shards s ON s.chunk_id = c.id AND s.shard_index < c.data_shards
      ORDER BY used.first, s.shard_index`,
    values: [datasetId],
  });
  const reads = shards.flatMap((shard) => {
    const total = Number(shard["shard_length"]);
    const node = numberOf.get(String(shard["node_id"])) as number;
    const key = String(shard["key"]);
    return Array.from({ length: Math.ceil(total / PIPE_READ_BYTES) }, (_, i) => {
      const offset = i * PIPE_READ_BYTES;
      return [node, key, offset, Math.min(PIPE_READ_BYTES, total - offset)] as const;
    });
  });
  return {
    nodes: nodes.map((node) => ({ kind: String(node["kind"]), address: String(node["address"]) })),
    reads,
  };
}
