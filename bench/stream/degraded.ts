/** What two lost nodes cost a stream: a dataset whose shards on them are gone, beside one whose shards are all there. */
import { type BenchResult, figure } from "../figure.ts";
import { type BenchDataset, type Cluster, startCluster, streamRequest } from "./cluster.ts";
import { measureInterleaved, type Side } from "./interleaved.ts";
import { type Load, startLoad } from "./load-client.ts";

const NAME = "stream.degraded";
const GOAL = 0.7;
const LOST_NODES = [2, 5];
const KIB = 1024;
const ITEMS = 1024;
const ITEM_BYTES = 128 * KIB;
const BATCH_SIZE = 32;

export async function measure(): Promise<readonly BenchResult[]> {
  if (process.platform !== "linux") return [{ name: NAME, skipped: "it needs Linux's /proc" }];
  const cluster = await startCluster("r2");
  const load = startLoad(cluster.stack.gatewayUrl);
  try {
    return [await measureCluster(cluster, load)];
  } finally {
    await load.stop();
    await cluster.stop();
  }
}

async function measureCluster(cluster: Cluster, load: Load): Promise<BenchResult> {
  const whole = await cluster.addDataset("whole", ITEMS, ITEM_BYTES);
  const damaged = await cluster.addDataset("damaged", ITEMS, ITEM_BYTES);
  await loseShards(cluster, damaged);
  const sides = {
    healthy: { request: streamRequest(whole, { batchSize: BATCH_SIZE }), bytes: whole.bytes },
    degraded: {
      request: streamRequest(damaged, { batchSize: BATCH_SIZE }),
      bytes: damaged.bytes,
      against: "healthy",
    },
  } satisfies Record<string, Side>;
  const { healthy, degraded } = await measureInterleaved(cluster, load, sides);
  return figure({
    name: NAME,
    value: degraded.megabytesPerSecond,
    unit: "MB/s",
    against: `the same with all nodes: ${Math.round(healthy.megabytesPerSecond)} MB/s, ${healthy.cpuSecondsPerGb.toFixed(2)} CPU-s/GB`,
    ratio: degraded.ratio,
    goal: GOAL,
    cpu_seconds_per_gb: degraded.cpuSecondsPerGb,
  });
}

/** Empties two nodes as far as this dataset goes, behind the gateway's back: the warm-up finds out. */
async function loseShards({ stack }: Cluster, dataset: BenchDataset): Promise<void> {
  for (const node of LOST_NODES) {
    const rows = await stack.sql.query({
      text: `SELECT DISTINCT s.chunk_id || '/' || s.shard_index || '.' || s.generation AS key
        FROM dataset_files f JOIN extents e USING (object_id) JOIN shards s USING (chunk_id)
        JOIN storage_nodes n ON n.id = s.node_id WHERE f.dataset_id = $1 AND n.name = $2`,
      values: [dataset.id, `node-${node}`],
    });
    const bucket = await stack.gateway.bucket(node);
    await bucket.delete(rows.map((row) => String(row["key"])));
  }
}
