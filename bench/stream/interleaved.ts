/** Several requests measured in turns, so that all of them meet the same load of the machine. */
import type { Cluster } from "./cluster.ts";
import type { Load, LoadRequest } from "./load-client.ts";
import { cpuSeconds } from "./workerd-process.ts";

const ROUNDS = 7;
const GB = 1e9;

export interface Side {
  readonly request: LoadRequest;
  /** What an answer holds, framing apart. */
  readonly bytes: number;
  /** Name of the side that this one is compared with. */
  readonly against?: string;
}

export interface Measured {
  readonly megabytesPerSecond: number;
  readonly cpuSecondsPerGb: number;
  /** Median of the rounds' ratios to the other side; null without one. */
  readonly ratio: number | null;
}

interface Run {
  readonly speed: number;
  readonly cpu: number;
}

/** One request at a time; medians of the rounds after a warm-up. */
export async function measureInterleaved<Name extends string>(
  cluster: Cluster,
  load: Load,
  sides: Readonly<Record<Name, Side>>,
): Promise<Record<Name, Measured>> {
  const names = Object.keys(sides) as Name[];
  const runs = Object.fromEntries(names.map((name) => [name, [] as Run[]])) as Record<Name, Run[]>;
  for (let round = -1; round < ROUNDS; round++) {
    for (const name of names) {
      const run = await measure(cluster, load, sides[name]);
      if (round >= 0) runs[name].push(run);
    }
  }
  const measured = names.map((name): [Name, Measured] => {
    const own = runs[name];
    const other = sides[name].against as Name | undefined;
    const ratios =
      other === undefined ? [] : own.map(({ speed }, i) => speed / (runs[other][i] as Run).speed);
    return [
      name,
      {
        megabytesPerSecond: median(own.map(({ speed }) => speed)) / 1e6,
        cpuSecondsPerGb: median(own.map(({ cpu }) => cpu)),
        ratio: ratios.length === 0 ? null : median(ratios),
      },
    ];
  });
  return Object.fromEntries(measured) as Record<Name, Measured>;
}

async function measure(cluster: Cluster, load: Load, { request, bytes }: Side): Promise<Run> {
  const pid = cluster.gatewayPid();
  const before = cpuSeconds(pid);
  const answer = await load.request(request);
  const cpu = cpuSeconds(pid) - before;
  if (answer.bytes < bytes) throw new Error(`${answer.bytes} bytes came; ${bytes} were expected.`);
  return { speed: bytes / answer.seconds, cpu: cpu / (bytes / GB) };
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1
    ? (sorted[middle] as number)
    : ((sorted[middle - 1] as number) + (sorted[middle] as number)) / 2;
}
