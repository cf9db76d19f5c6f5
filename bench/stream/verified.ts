/** What verification and framing cost: verified batches beside the same ranges sent on as they come. */
import { type BenchResult, figure } from "../figure.ts";
import { type Cluster, type NodeKind, startCluster, streamRequest } from "./cluster.ts";
import { measureInterleaved, type Measured, type Side } from "./interleaved.ts";
import { type Load, startLoad } from "./load-client.ts";

const KIB = 1024;
const LARGE = { items: 1024, itemBytes: 128 * KIB, batchSize: 32 };
const SMALL = { items: 256 * 85, itemBytes: 3 * KIB, batchSize: 256 };
const GOALS: Readonly<Record<NodeKind, number>> = { r2: 0.6, http: 0.58 };
const NAME = "stream.verified";

export async function measure(): Promise<readonly BenchResult[]> {
  if (process.platform !== "linux") return [{ name: NAME, skipped: "it needs Linux's /proc" }];
  return [...(await measureNodes("r2")), ...(await measureNodes("http"))];
}

async function measureNodes(kind: NodeKind): Promise<BenchResult[]> {
  const cluster = await startCluster(kind);
  const load = startLoad(cluster.stack.gatewayUrl);
  try {
    return await measureCluster(kind, cluster, load);
  } finally {
    await load.stop();
    await cluster.stop();
  }
}

async function measureCluster(kind: NodeKind, cluster: Cluster, load: Load): Promise<BenchResult[]> {
  const large = await cluster.addDataset("large", LARGE.items, LARGE.itemBytes);
  const small = await cluster.addDataset("small", SMALL.items, SMALL.itemBytes);
  const { batchSize } = LARGE;
  const sides = {
    pipeLarge: { request: await cluster.pipeRequest(large), bytes: large.bytes },
    large: { request: streamRequest(large, { batchSize }), bytes: large.bytes, against: "pipeLarge" },
    largeConcatenated: {
      request: streamRequest(large, { batchSize, batchHash: "concatenated" }),
      bytes: large.bytes,
      against: "pipeLarge",
    },
    largeBlock: {
      request: streamRequest(large, { batchSize, shuffle: "block" }),
      bytes: large.bytes,
      against: "pipeLarge",
    },
    pipeSmall: { request: await cluster.pipeRequest(small), bytes: small.bytes },
    small: {
      request: streamRequest(small, { batchSize: SMALL.batchSize }),
      bytes: small.bytes,
      against: "pipeSmall",
    },
    smallBlock: {
      request: streamRequest(small, { batchSize: SMALL.batchSize, shuffle: "block" }),
      bytes: small.bytes,
      against: "pipeSmall",
    },
  } satisfies Record<string, Side>;
  const measured = await measureInterleaved(cluster, load, sides);

  const prefix = kind === "r2" ? NAME : `${NAME}.http`;
  const goal = GOALS[kind];
  const one = (name: string, own: Measured, pipe: Measured, wanted: number | null): BenchResult =>
    figure({
      name,
      value: own.megabytesPerSecond,
      unit: "MB/s",
      against: `an unverified pipe of the same ranges: ${Math.round(pipe.megabytesPerSecond)} MB/s, ${pipe.cpuSecondsPerGb.toFixed(2)} CPU-s/GB`,
      ratio: own.ratio,
      goal: wanted,
      cpu_seconds_per_gb: own.cpuSecondsPerGb,
    });
  const { pipeLarge, pipeSmall } = measured;
  return [
    one(prefix, measured.large, pipeLarge, goal),
    one(`${prefix}.concatenated`, measured.largeConcatenated, pipeLarge, null),
    one(`${prefix}.block`, measured.largeBlock, pipeLarge, null),
    one(`${prefix}.small`, measured.small, pipeSmall, null),
    one(`${prefix}.small_block`, measured.smallBlock, pipeSmall, null),
  ];
}
