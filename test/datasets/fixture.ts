/**
 * Jobs on a real catalog and nodes in memory, as a process that can die and come back: what `boot` builds is
 * forgotten in a crash, the database, the nodes and the job's own storage are not.
 */
import { randomUUID } from "node:crypto";
import { blake3 } from "@noble/hashes/blake3.js";
import { ensureBucket } from "../../catalog/buckets.ts";
import { ChunkCache } from "../../catalog/chunk-cache.ts";
import { findJob, type Job, type NewJob } from "../../catalog/jobs.ts";
import { locateObject } from "../../catalog/locate.ts";
import { ensureStorageNodes } from "../../catalog/nodes.ts";
import { createUser } from "../../catalog/users.ts";
import { writeCatalog } from "../../catalog/write-catalog.ts";
import type { Sql } from "../../core/ports.ts";
import { CreateDataset } from "../../durable-objects/jobs/create-dataset.ts";
import { type JobStorage, MemoryJobStorage } from "../../durable-objects/jobs/program.ts";
import { JobRunner } from "../../durable-objects/jobs/runner.ts";
import {
  findUnreadable,
  StoredObjects,
  type StoredObjectsDeps,
} from "../../durable-objects/jobs/stored-objects.ts";
import { ImportPublicDataset } from "../../durable-objects/jobs/import-public-dataset.ts";
import { UnpackDataset } from "../../durable-objects/jobs/unpack-dataset.ts";
import { UnpackedFiles } from "../../durable-objects/jobs/unpacked-files.ts";
import { VerifyDataset } from "../../durable-objects/jobs/verify-dataset.ts";
import { type Kernels, loadKernels } from "../../kernels/index.ts";
import { ByteBudget } from "../../storage/byte-budget.ts";
import { ConnectionGate } from "../../storage/connections.ts";
import { MemoryShardStore } from "../../storage/memory-shard-store.ts";
import { readObject } from "../../storage/object-reader.ts";
import type { Damage } from "../../storage/shard-reader.ts";
import { putObject } from "../../storage/uploads/put-object.ts";
import { createDatabase } from "../support/database.ts";
import { FaultHarness } from "../support/faults.ts";

const MIB = 1024 * 1024;
const kernels: Kernels = await loadKernels();
export const clock = { now: (): number => Date.UTC(2026, 10, 22) };

export interface JobOptions {
  readonly filesPerStep?: number;
  /** Of manifests; at least 64 KiB. */
  readonly partBytes?: number;
}

export interface Bench {
  readonly sql: Sql;
  readonly ownerId: string;
  readonly harness: FaultHarness;
  readonly stores: readonly MemoryShardStore[];
  /** Damage that reads reported. */
  readonly damage: Damage[];
  /** Past the harness, for looking at the outcome. */
  readonly direct: StoredObjectsDeps;
  bucket(name: string, ownerId?: string): Promise<string>;
  /** Stores real bytes. */
  put(bucketId: string, key: string, bytes: Uint8Array): Promise<string>;
  /** Rows of live objects alone, for jobs that read no bytes: thousands at once. */
  declare(bucketId: string, keys: readonly string[], size?: number): Promise<void>;
  /** A process that goes on with what `storage` holds. */
  boot(storage: JobStorage, options?: JobOptions): JobRunner;
  /** Runs a job to its end, and answers what its owner sees. */
  run(job: NewJob, options?: JobOptions): Promise<Job>;
  read(objectId: string): Promise<Uint8Array>;
  close(): Promise<void>;
}

export async function createBench(): Promise<Bench> {
  const database = await createDatabase();
  const { sql } = database;
  const harness = new FaultHarness();
  const { id: ownerId } = await createUser(sql, { name: "ada", role: "owner" });
  await ensureStorageNodes(
    sql,
    [1, 2, 3, 4, 5, 6].map((n) => ({ name: `node-${n}`, kind: "r2", address: `NODE_${n}` }) as const),
  );
  const rows = await sql.query({ text: "select id, name from storage_nodes order by name", values: [] });
  const stores = rows.map(() => new MemoryShardStore());
  const damage: Damage[] = [];

  const wire = (faulty: boolean, partBytes: number | undefined): StoredObjectsDeps => {
    const nodes = new Map(
      rows.map((row, i) => {
        const memory = stores[i] as MemoryShardStore;
        const store = faulty ? harness.wrapStore(memory, `node-${i + 1}`) : memory;
        return [
          row.id as string,
          { id: row.id as string, name: row.name as string, state: "live" as const, store },
        ];
      }),
    );
    const storage = { nodes, kernels, budget: new ByteBudget(64 * MIB), connections: new ConnectionGate() };
    const catalogSql = faulty ? harness.wrapSql(sql) : sql;
    return {
      sql: catalogSql,
      chunks: new ChunkCache(clock),
      reads: { ...storage, reportDamage: (found) => damage.push(found) },
      uploads: { ...storage, catalog: writeCatalog(catalogSql), clock },
      ...(partBytes !== undefined && { partBytes }),
    };
  };
  const direct = wire(false, undefined);

  const bench: Bench = {
    sql,
    ownerId,
    harness,
    stores,
    damage,
    direct,
    async bucket(name, owner = ownerId) {
      const geometry = { chunkBytes: 4096, dataShards: 4, parityShards: 2 };
      return (await ensureBucket(sql, { ownerId: owner, name, ...geometry })).bucket.id;
    },
    async put(bucketId, key, bytes) {
      return (await putObject(direct.uploads, { bucketId, key, bytes })).objectId;
    },
    async declare(bucketId, keys, size = 10) {
      await sql.query({
        text: `insert into objects (bucket_id, key, state, size, content_hash)
          select $1::uuid, key, 'live', $3::int8, sha256(convert_to(key, 'UTF8')) from unnest($2::text[]) as key`,
        values: [bucketId, keys, size],
      });
    },
    boot(storage, options = {}) {
      const deps = wire(true, options.partBytes);
      const objects = new StoredObjects(deps);
      const common = {
        sql: deps.sql,
        blake3: kernels.blake3,
        objects,
        ...(options.filesPerStep !== undefined && { filesPerStep: options.filesPerStep }),
      };
      const create = new CreateDataset(common);
      return new JobRunner(deps.sql, storage, {
        create_dataset: create,
        unpack_dataset: new UnpackDataset({ ...common, create, files: new UnpackedFiles(deps) }),
        import_public_dataset: new ImportPublicDataset({ ...common, create }),
        verify_dataset: new VerifyDataset({
          ...common,
          clock,
          unreadable: (datasetId, from, count) => findUnreadable(deps, datasetId, from, count),
        }),
      });
    },
    async run(job, options) {
      const storage = new MemoryJobStorage();
      const runner = bench.boot(storage, options);
      runner.accept(job);
      while ((await runner.advance()) !== "ended");
      return (await findJob(sql, job.ownerId, job.id)) as Job;
    },
    async read(objectId) {
      const object = await locateObject(sql, objectId, new ChunkCache(clock));
      if (object === undefined) throw new Error(`There is no object ${objectId}.`);
      return new Uint8Array(await new Response(readObject(direct.reads, object)).arrayBuffer());
    },
    close: () => database.close(),
  };
  return bench;
}

export interface DatasetWish {
  readonly name?: string;
  readonly files: readonly string[];
  readonly schema?: Readonly<Record<string, unknown>>;
}

export function createJob(ownerId: string, wish: DatasetWish): NewJob {
  const { name = "pets", files, schema = { type: "image", format: "png" } } = wish;
  const input = {
    dataset_id: randomUUID(),
    name,
    description: "",
    files,
    schema: { labels: "none", ...schema },
  };
  return { id: randomUUID(), ownerId, kind: "create_dataset", input };
}

export function verifyJob(ownerId: string, datasetId: string, depth: "manifest" | "stored" | "full"): NewJob {
  const input = { dataset_id: datasetId, depth, check_public_registry: true };
  return { id: randomUUID(), ownerId, kind: "verify_dataset", input };
}

export function hash(bytes: Uint8Array): Uint8Array {
  return blake3(bytes);
}

export function bytesOf(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

/** One number from a query. */
export async function countOf(sql: Sql, text: string, values: readonly string[] = []): Promise<number> {
  const [row] = await sql.query({ text: `select count(*) as n from ${text}`, values });
  return Number(row?.n);
}
