/** What it costs to receive: our own reader beside connect-node without compression, from the same server. */
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { type BenchResult, figure } from "../figure.ts";
import type { FramesServer } from "./frames-server.ts";
import type { ReadAnswer, Reader, ReadOrder } from "./receive-reader.ts";

const NAME = "companion.receive";
const READERS: readonly Reader[] = ["socket", "fetch", "connect-node"];
const MESSAGES = 200;
const ROUNDS = 7;
const GOAL = 2;
const GB = 1e9;

/** CPU seconds for 10^9 bytes. */
type Costs = Readonly<Record<Reader, number[]>>;

export async function measure(): Promise<readonly BenchResult[]> {
  const child = start("frames-server.ts");
  const readers = READERS.map((name) => [name, start("receive-reader.ts", name)] as const);
  try {
    const [server] = (await once(child, "message")) as [FramesServer];
    const plain = await compare(readers, { url: server.plain, ca: server.ca, messages: MESSAGES }, server);
    // Only Node's own clients take an authority from a program; fetch would need it at start.
    const own = readers.filter(([name]) => name !== "fetch");
    const tls = await compare(own, { url: server.tls, ca: server.ca, messages: MESSAGES }, server);
    return [...figures(NAME, plain), ...figures(`${NAME}.tls`, tls)];
  } finally {
    for (const [, reader] of readers) reader.disconnect();
    child.disconnect();
  }
}

/** In turns, so that all meet the same load of the machine; the first round warms up. */
async function compare(
  readers: readonly (readonly [Reader, ChildProcess])[],
  order: ReadOrder,
  { messageBytes }: FramesServer,
): Promise<Costs> {
  const costs: Record<Reader, number[]> = { socket: [], fetch: [], "connect-node": [] };
  for (let round = -1; round < ROUNDS; round++) {
    for (const [name, reader] of readers) {
      reader.send(order);
      const [{ bytes, cpuSeconds }] = (await once(reader, "message")) as [ReadAnswer];
      if (bytes < order.messages * messageBytes * 0.99) throw new Error(`${name}: only ${bytes} bytes came.`);
      if (round >= 0) costs[name].push(cpuSeconds / (bytes / GB));
    }
  }
  return costs;
}

function figures(name: string, costs: Costs): BenchResult[] {
  const own = median(costs.socket);
  const against = (other: Reader, goal: number | null, suffix: string): BenchResult => {
    const theirs = median(costs[other]);
    return figure({
      name: `${name}${suffix}`,
      value: 1000 / own,
      unit: "MB/s per core",
      against: `${other}: ${Math.round(1000 / theirs)} MB/s, ${theirs.toFixed(2)} CPU-s/GB`,
      ratio: median(costs[other].map((cost, i) => cost / (costs.socket[i] as number))),
      goal,
      cpu_seconds_per_gb: own,
    });
  };
  const results = [against("connect-node", GOAL, "")];
  if (costs.fetch.length > 0) results.push(against("fetch", null, ".fetch"));
  return results;
}

function start(file: string, ...parameters: string[]): ChildProcess {
  return fork(fileURLToPath(new URL(file, import.meta.url)), parameters);
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[sorted.length >> 1] as number;
}
